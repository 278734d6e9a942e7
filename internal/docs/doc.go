// Package docs tests what the Markdown files of this repository say.
//
// Every block of Go is compiled. A block is one of these:
//
//   - a whole file, which begins with a package clause. Files of one package on one page belong
//     together. A program (package main) is also built, vetted and run: a server has to respond
//     on the address that it listens on, in place of which the test writes another one, and any
//     other program has to end without an error;
//   - declarations, or statements of a function, both after imports if there are any;
//   - lines of a struct literal, such as IdleTimeout: time.Minute, with a comma at the end:
//     of sessionguard.Config, Refusals, or the Config of a backend.
//
// Imports may be left out: imports.go lists the packages that are found by their name. Names
// that need no declaration are in prelude.go. Where a name is of both, it is the package if that
// has all that the code uses. A page may use what an earlier block of it has
// declared: at top level, on the rest of the page; in statements, up to the next heading of
// level 2. Variables and imports may be unused.
//
// Links, anchors, names of tests, commands of go, and tables are compared with the files and
// the code: see the tests.
package docs
