package store

import (
	"reflect"
	"slices"
	"strings"
)

// A pack holds sessions beside each other. A session by itself is six pieces of memory or
// more, which the garbage collector all has to find. A full pack is four at most: the
// sessions, their Details, their strings and their values. What few sessions have, such as
// factors or a device, stays where it is.
//
// A session in a pack is never written to, and its memory is not reused: whoever got it from
// Load may keep it, and so keeps the memory of the pack, also after the session has left it.
type pack struct {
	sessions []Session
	stored   int // those that a slot names; the others have been removed, or saved since
}

const (
	packSize = 11 // these fill one of the runtime's size classes, 2048 bytes

	// The open pack grows to this size, so that making room is rare even if one session is
	// saved again and again.
	openSize = 2 * packSize

	// A pack with fewer sessions is dissolved.
	minStored = packSize * 3 / 4

	// A session with longer values is alone in a pack: beside others it would be kept for as
	// long as they are, also after it has ended, and every version of it that was saved.
	maxPackedValues = 512
)

// packs are those of a table. All but the one at open are full, or hold one session alone.
type packs struct {
	all  []pack // the first is never used
	free []uint32
	open uint32
}

// put puts a session into the open pack or one of its own, and lets s name it.
func (t *table) put(s *slot, session *Session) {
	t.makeRoom()
	s.pack = t.packs.open
	alone := len(session.Values) > maxPackedValues
	if alone {
		s.pack = t.packs.add()
	}
	p := &t.packs.all[s.pack]
	p.sessions = append(p.sessions, *session) // which leaves alone those that others may be reading
	p.stored++
	s.at = uint32(len(p.sessions) - 1)
	added := &p.sessions[s.at]
	added.Values = slices.Clip(added.Values) // or two requests that append to them could write to the same memory
	if added.Details != nil && reflect.ValueOf(added.Details).Elem().IsZero() {
		added.Details = nil
	}
	if alone {
		join(p.sessions)
	}
}

// makeRoom makes room in the open pack if it has grown to openSize. A full pack of what is
// still stored of it is joined, and the open one goes on with the rest.
func (t *table) makeRoom() {
	grown := t.packs.open
	if len(t.packs.all[grown].sessions) < openSize {
		return
	}
	slots := t.slotsOf(grown)
	if len(slots) < packSize {
		t.repack(grown, slots)
		return
	}
	t.packs.open = t.packs.add()
	t.repack(t.packs.open, slots[packSize:])
	t.repack(grown, slots[:packSize])
	join(t.packs.all[grown].sessions)
}

// repack makes a pack of copies of the sessions of slots.
func (t *table) repack(index uint32, slots []*slot) {
	sessions := make([]Session, len(slots))
	for i, s := range slots {
		sessions[i] = *t.session(s)
		s.pack, s.at = index, uint32(i)
	}
	t.packs.all[index] = pack{sessions, len(slots)}
}

// drop is called when a slot no longer names a session of a pack. It dissolves the pack if
// too few are left.
func (t *table) drop(index uint32) {
	p := &t.packs.all[index]
	p.stored--
	if index == t.packs.open || p.stored >= minStored {
		return
	}
	for _, s := range t.slotsOf(index) {
		t.put(s, t.session(s))
	}
	t.packs.all[index] = pack{}
	t.packs.free = append(t.packs.free, index)
}

// slotsOf returns the slots that name a session of a pack.
func (t *table) slotsOf(index uint32) (slots []*slot) {
	sessions := t.packs.all[index].sessions
	for i := range sessions {
		if s := t.find(sessions[i].Key); s != nil && s.pack == index && s.at == uint32(i) {
			slots = append(slots, s)
		}
	}
	return slots
}

// add returns the index of a new pack.
func (p *packs) add() uint32 {
	if last := len(p.free) - 1; last >= 0 {
		index := p.free[last]
		p.free = p.free[:last]
		return index
	}
	p.all = append(p.all, pack{})
	return uint32(len(p.all) - 1)
}

// join copies what sessions point to into one piece of memory of each kind. Nobody else may
// have the sessions yet.
func join(sessions []Session) {
	joinDetails(sessions)
	joinStrings(sessions)
	joinValues(sessions)
}

func joinDetails(sessions []Session) {
	n := 0
	for i := range sessions {
		if sessions[i].Details != nil {
			n++
		}
	}
	all := make([]Details, 0, n)
	for i := range sessions {
		if s := &sessions[i]; s.Details != nil {
			all = append(all, *s.Details)
			s.Details = &all[len(all)-1]
		}
	}
}

func joinStrings(sessions []Session) {
	size := 0
	eachString(sessions, func(s *string) { size += len(*s) })
	var all strings.Builder
	all.Grow(size) // so that all strings are parts of one
	eachString(sessions, func(s *string) {
		at := all.Len()
		all.WriteString(*s)
		*s = all.String()[at:]
	})
}

// eachString calls f for each string that is not empty and is likely to be of one session
// alone. Sessions with the same user agent share it.
func eachString(sessions []Session, f func(*string)) {
	for i := range sessions {
		s := &sessions[i]
		texts := []*string{&s.ID, &s.Owner, &s.Stamp, &s.Address}
		same := 0
		for sessions[same].UserAgent != s.UserAgent {
			same++
		}
		if same == i {
			texts = append(texts, &s.UserAgent)
		} else {
			s.UserAgent = sessions[same].UserAgent
		}
		if s.Details != nil {
			texts = append(texts, &s.Details.Label)
		}
		for _, text := range texts {
			if *text != "" {
				f(text)
			}
		}
	}
}

func joinValues(sessions []Session) {
	isShort := func(s *Session) bool { return 0 < len(s.Values) && len(s.Values) <= maxPackedValues }
	size := 0
	for i := range sessions {
		if isShort(&sessions[i]) {
			size += len(sessions[i].Values)
		}
	}
	all := make([]byte, 0, size)
	for i := range sessions {
		if s := &sessions[i]; isShort(s) {
			at := len(all)
			all = append(all, s.Values...)
			s.Values = all[at:len(all):len(all)]
		}
	}
}
