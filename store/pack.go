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

	// So many sessions are loose before some are packed, so that making room is rare even if
	// most of them end soon.
	maxLoose = 2 * packSize

	// A pack with fewer sessions is dissolved.
	minStored = packSize * 3 / 4

	// A session with longer values is alone in a pack: beside others it would be kept for as
	// long as they are, also after it has ended, and every version of it that was saved.
	maxPackedValues = 512
)

// packs are those of a table. Each is full, or holds one session alone.
type packs struct {
	loose []*Session // the latest, as they came; nil: it has been removed
	all   []pack     // the first is never used: an index of 0 stands for loose
	free  []uint32
}

// A place is where a session is: the index of its pack, and where in that. In 27 bits there are
// more than enough packs for all slots.
type place uint32

func placeOf(pack uint32, at int) place { return place(pack<<5 | uint32(at)) }

func (p place) pack() uint32  { return uint32(p >> 5) }
func (p place) at() int       { return int(p & 31) } // less than maxLoose
func (p place) isLoose() bool { return p.pack() == 0 }

// put lets s name a session that is not in a pack yet. Nobody will write to it: see [Backend].
func (t *table) put(s *slot, session *Session) {
	if len(session.Values) > maxPackedValues {
		t.pack([]*slot{s}, []Session{*clipped(session)})
		return
	}
	t.makeRoom()
	s.place = placeOf(0, len(t.packs.loose))
	t.packs.loose = append(t.packs.loose, clipped(session))
}

// clipped returns a session whose Values have no room at their end. Otherwise two requests that
// append to them could write to the same memory.
func clipped(session *Session) *Session {
	if len(session.Values) == cap(session.Values) {
		return session
	}
	c := *session
	c.Values = slices.Clip(c.Values)
	return &c
}

// makeRoom packs some of the loose sessions if there are maxLoose.
func (t *table) makeRoom() {
	if len(t.packs.loose) < maxLoose {
		return
	}
	var buffer [maxLoose]*slot
	slots := buffer[:0]
	for _, session := range t.packs.loose {
		if session != nil {
			slots = append(slots, t.find(session.Key))
		}
	}
	if len(slots) >= packSize {
		sessions := make([]Session, packSize)
		for i := range sessions {
			sessions[i] = *t.session(slots[i])
		}
		t.pack(slots[:packSize], sessions)
		slots = slots[packSize:]
	}
	for i, s := range slots {
		t.packs.loose[i], s.place = t.session(s), placeOf(0, i)
	}
	clear(t.packs.loose[len(slots):])
	t.packs.loose = t.packs.loose[:len(slots)]
}

// pack makes sessions a pack, and lets slots name them.
func (t *table) pack(slots []*slot, sessions []Session) {
	join(sessions)
	index := t.packs.add()
	t.packs.all[index] = pack{sessions, len(sessions)}
	for i, s := range slots {
		s.place = placeOf(index, i)
	}
}

// drop is called when no slot names the session at a place any more. It dissolves the pack if
// too few are left.
func (t *table) drop(from place) {
	index := from.pack()
	if from.isLoose() {
		t.packs.loose[from.at()] = nil
		if last := len(t.packs.loose) - 1; from.at() == last {
			t.packs.loose = t.packs.loose[:last]
		}
		return
	}
	p := &t.packs.all[index]
	p.stored--
	if p.stored >= minStored {
		return
	}
	sessions := p.sessions
	for i := range sessions {
		if s := t.find(sessions[i].Key); s != nil && s.place == placeOf(index, i) {
			loose := sessions[i] // a copy, which does not keep the pack
			t.put(s, &loose)
		}
	}
	t.packs.all[index] = pack{}
	t.packs.free = append(t.packs.free, index)
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
		if s := &sessions[i]; s.Details != nil && reflect.ValueOf(s.Details).Elem().IsZero() {
			s.Details = nil
		} else if s.Details != nil {
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
// alone. Sessions with the same client share it.
func eachString(sessions []Session, f func(*string)) {
	for i := range sessions {
		s := &sessions[i]
		texts := append(make([]*string, 0, 6), &s.ID, &s.Owner, &s.Stamp, &s.Address)
		same := 0
		for sessions[same].Client != s.Client {
			same++
		}
		if same == i {
			texts = append(texts, &s.Client)
		} else {
			s.Client = sessions[same].Client
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
