// Package factor keeps the factors of a session: the ways in which a user has proven who
// they are.
package factor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

const (
	// Max is how many factors a session has at most.
	Max       = 8
	maxLength = 32
)

// Check returns an error if one of names cannot be that of a factor, or there are more than
// Max. RFC 8176 names them "pwd", "otp", "hwk" and the like.
func Check(names []string) error {
	if len(names) > Max {
		return fmt.Errorf("%d factors are more than %d", len(names), Max)
	}
	for _, name := range names {
		if name == "" || len(name) > maxLength || strings.ContainsFunc(name, isForeign) {
			return fmt.Errorf("the name %.40q of a factor does not have 1 to %d letters, digits, '.', '_' and '-'", name, maxLength)
		}
	}
	return nil
}

func isForeign(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._-", c))
}

// Add returns the factors of old and those of names, proven now. Of one that both have, only
// the newer is left. Beyond Max the oldest are dropped, so that a session cannot grow.
func Add(old []store.Factor, names []string, now store.Time) []store.Factor {
	var all []store.Factor
	for _, f := range old {
		if !slices.Contains(names, f.Name) {
			all = append(all, f)
		}
	}
	for i, name := range names {
		if !slices.Contains(names[:i], name) {
			all = append(all, store.Factor{Name: name, At: now})
		}
	}
	return all[max(0, len(all)-Max):]
}

// Recent returns those of factors that were proven less than age before now.
func Recent(factors []store.Factor, now store.Time, age time.Duration) (recent []store.Factor) {
	for _, f := range factors {
		if now.Sub(f.At) < age {
			recent = append(recent, f)
		}
	}
	return recent
}

// Missing returns those of needed that factors lack. It allocates nothing if there are none.
func Missing(factors []store.Factor, needed []string) (missing []string) {
	for _, name := range needed {
		if !Has(factors, name) && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	return missing
}

// Has reports whether name is one of factors.
func Has(factors []store.Factor, name string) bool {
	for i := range factors {
		if factors[i].Name == name {
			return true
		}
	}
	return false
}

// Stale returns the first of names that factors lack, or that was not proven less than age
// before now. It returns "" if there is none.
func Stale(factors []store.Factor, names []string, now store.Time, age time.Duration) string {
	for _, name := range names {
		fresh := false
		for i := range factors {
			fresh = fresh || factors[i].Name == name && now.Sub(factors[i].At) < age
		}
		if !fresh {
			return name
		}
	}
	return ""
}

// Names returns the names of factors.
func Names(factors []store.Factor) (names []string) {
	for _, f := range factors {
		names = append(names, f.Name)
	}
	return names
}
