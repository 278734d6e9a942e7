// Package labels checks what people call their devices.
package labels

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrInvalid is wrapped by all errors of Clean.
var ErrInvalid = errors.New("sessionguard: invalid label")

// maxLength is the maximum number of characters in a label.
const maxLength = 100

// Clean returns a label without the spaces at its ends, or an error if it may not be stored.
// Lists of sessions show it beside what others have written, so that it must neither
// imitate that nor change how it looks (Unicode Technical Report 36, section 2.5).
func Clean(label string) (string, error) {
	label = strings.TrimSpace(label)
	if !utf8.ValidString(label) {
		return "", fmt.Errorf("%w: not UTF-8", ErrInvalid)
	}
	if n := utf8.RuneCountInString(label); n > maxLength {
		return "", fmt.Errorf("%w: %d characters are more than %d", ErrInvalid, n, maxLength)
	}
	var last rune
	for _, r := range label {
		if !unicode.IsPrint(r) && !joins(last, r) {
			return "", fmt.Errorf("%w: it contains the character %U", ErrInvalid, r)
		}
		last = r
	}
	return label, nil
}

// joins reports whether r joins or separates the letters or emoji around it: U+200C ZERO WIDTH
// NON-JOINER or U+200D ZERO WIDTH JOINER, after a character that can be seen. Several would
// only make a label look like another.
func joins(last, r rune) bool {
	return (r == '\u200c' || r == '\u200d') && unicode.IsGraphic(last) && !unicode.IsSpace(last)
}
