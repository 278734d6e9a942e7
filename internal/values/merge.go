package values

import "strings"

// Merge applies to latest what changed between base and mine, key by key. Both sides'
// changes are kept. Where both changed one key, mine wins, also with a deletion: it is the
// later commit.
//
// Lists ([]any, the type of gorilla's flashes) are merged by element. If mine only appended
// to a list, those elements follow latest's. If mine removed or replaced a list, the
// application has shown base's elements to the user: they are dropped, elements that
// latest appended are kept, and mine's follow. If both sides changed a list and the result
// is empty, the key is removed.
func Merge(base, mine, latest Entries) Entries {
	if latest.Equal(base) { // as usual
		return mine
	}
	var merged Entries
	for len(base)+len(mine)+len(latest) > 0 {
		key := firstKey(base, mine, latest)
		v := mergeValue(popValue(&base, key), popValue(&mine, key), popValue(&latest, key))
		if v != "" {
			merged = append(merged, Entry{key, v})
		}
	}
	return merged
}

// mergeValue merges the values of one key. An absent value is "".
func mergeValue(base, mine, latest string) string {
	if mine == base {
		return latest
	}
	if latest == base {
		return mine
	}
	baseElements, baseIsList := listElements(base)
	mineElements, mineIsList := listElements(mine)
	latestElements, latestIsList := listElements(latest)
	// If base is a list, an absent value is an empty list.
	mineIsList = mineIsList || baseIsList && mine == ""
	latestIsList = latestIsList || baseIsList && latest == ""
	if !mineIsList || !latestIsList {
		return mine
	}
	// Each element begins with its length, so a prefix of the bytes is a prefix of the list.
	mineElements, onlyAppended := strings.CutPrefix(mineElements, baseElements)
	if !onlyAppended {
		latestElements = strings.TrimPrefix(latestElements, baseElements)
	}
	if latestElements+mineElements == "" {
		return ""
	}
	return listOf(latestElements + mineElements)
}

// firstKey returns the smallest key of all lists.
func firstKey(lists ...Entries) string {
	var first string
	for _, l := range lists {
		if len(l) > 0 && (first == "" || l[0].Key < first) {
			first = l[0].Key
		}
	}
	return first
}

// popValue removes the first entry of e if it has the key, and returns its value. If it
// has not, popValue returns "".
func popValue(e *Entries, key string) string {
	if len(*e) == 0 || (*e)[0].Key != key {
		return ""
	}
	v := (*e)[0].Value
	*e = (*e)[1:]
	return v
}
