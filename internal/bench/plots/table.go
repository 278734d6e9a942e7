package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A table is one of the benchmarks' tables: for each row its first cell and the others.
type table struct {
	header []string
	rows   [][]string
}

// tableOf returns the first table between the markers of a name.
func tableOf(text, name string) (table, error) {
	_, rest, found := strings.Cut(text, "<!-- "+name+": begin -->\n")
	section, _, closed := strings.Cut(rest, "<!-- "+name+": end -->")
	if !found || !closed {
		return table{}, fmt.Errorf("there are no markers for %q", name)
	}
	var t table
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			if t.rows != nil {
				break
			}
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case t.header == nil:
			t.header = cells
		case strings.Trim(cells[0], "-") == "" && cells[0] != "": // the line below the header
		default:
			t.rows = append(t.rows, cells)
		}
	}
	if len(t.rows) == 0 {
		return table{}, fmt.Errorf("%q has no table", name)
	}
	return t, nil
}

// number matches the figure at the beginning of a cell, which may have a range after it.
var number = regexp.MustCompile(`^[0-9.]+`)

// value returns the figure of a row in the column with this header.
func (t table) value(row []string, column string) (float64, error) {
	for i, h := range t.header {
		if h == column && i < len(row) {
			return strconv.ParseFloat(number.FindString(row[i]), 64)
		}
	}
	return 0, fmt.Errorf("%q has no column %q", row[0], column)
}
