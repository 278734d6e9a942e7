// Program plots draws the plots of docs/speed.md from the tables in the README of the
// benchmarks, so that plots and tables show the same run:
//
//	go -C internal/bench/plots run .
//
// It writes two files for each plot, for light and for dark pages.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
)

func main() {
	if err := run("../README.md", "../../../docs/pictures"); err != nil {
		log.Fatal(err)
	}
}

// run draws the tables of the Markdown file readme, and writes the plots into folder.
func run(readme, folder string) error {
	text, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	for _, theme := range []theme{light, dark} {
		plots, err := drawAll(string(text), theme)
		if err != nil {
			return fmt.Errorf("%s: %w", readme, err)
		}
		for name, svg := range plots {
			if err := os.WriteFile(filepath.Join(folder, name+theme.suffix+".svg"), svg, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}
