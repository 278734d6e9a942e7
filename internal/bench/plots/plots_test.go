package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPlotsShowTheTables fails if the tables have been measured again, and the plots have not
// been drawn from them: run "go -C internal/bench/plots run .".
func TestPlotsShowTheTables(t *testing.T) {
	folder := t.TempDir()
	if err := run("../README.md", folder); err != nil {
		t.Fatal(err)
	}
	drawn, err := filepath.Glob(filepath.Join(folder, "*.svg"))
	if err != nil || len(drawn) != 10 {
		t.Fatal(drawn, err)
	}
	for _, file := range drawn {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join("../../../docs/pictures", filepath.Base(file)))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("docs/pictures/%s does not show the tables of internal/bench/README.md", filepath.Base(file))
		}
	}
}

func TestTablesThatAreMissingAreErrors(t *testing.T) {
	for _, readme := range []string{
		"",
		"<!-- protected: begin -->\n",
		"<!-- protected: begin -->\nno table\n<!-- protected: end -->\n",
		"<!-- protected: begin -->\n| | time |\n|---|---|\n| sessionguard | 1 |\n<!-- protected: end -->\n",
		"<!-- protected: begin -->\n| | CPU |\n|---|---|\n| sessionguard | fast |\n<!-- protected: end -->\n",
	} {
		if _, _, err := drawRequest(readme, light); err == nil {
			t.Errorf("no error for %q", readme)
		}
	}
}
