package store

import (
	"slices"
	"sort"
)

// blocks are the sessions of a list in order, in pieces, so that an owner with very many
// sessions can be searched quickly and no insertion moves more than one piece.
type blocks [][]ref

// maxBlock is the length at which a block is divided.
const maxBlock = 256

// A position is that of a session in blocks, or of the end: the block after the last.
type position struct{ block, at int }

// search returns the first position whose session is not before the one that is looked for.
func (b blocks) search(before func(ref) bool) position {
	block := sort.Search(len(b), func(i int) bool { return !before(b[i][len(b[i])-1]) })
	if block == len(b) {
		return position{block, 0}
	}
	return position{block, sort.Search(len(b[block]), func(i int) bool { return !before(b[block][i]) })}
}

func (b blocks) isEnd(p position) bool { return p.block == len(b) }

func (b blocks) at(p position) ref { return b[p.block][p.at] }

func (b blocks) next(p position) position {
	if p.at++; p.at == len(b[p.block]) {
		p = position{p.block + 1, 0}
	}
	return p
}

// insert inserts r before the session at p. There must be a block already.
func (b *blocks) insert(p position, r ref) {
	if b.isEnd(p) {
		p = position{p.block - 1, len((*b)[p.block-1])}
	}
	block := slices.Insert((*b)[p.block], p.at, r)
	(*b)[p.block] = block
	if half := len(block) / 2; len(block) > maxBlock {
		(*b)[p.block] = block[:half]
		*b = slices.Insert(*b, p.block+1, slices.Clone(block[half:]))
	}
}

// remove removes the session at p. It joins neighbors that have become short.
func (b *blocks) remove(p position) {
	block := slices.Delete((*b)[p.block], p.at, p.at+1)
	(*b)[p.block] = block
	if len(block) == 0 {
		*b = slices.Delete(*b, p.block, p.block+1)
		return
	}
	for _, i := range []int{p.block, p.block - 1} {
		if 0 <= i && i+1 < len(*b) && len((*b)[i])+len((*b)[i+1]) <= maxBlock/2 {
			(*b)[i] = slices.Concat((*b)[i], (*b)[i+1])
			*b = slices.Delete(*b, i+1, i+2)
		}
	}
}
