// Package promises tests every promise of sessionguard the way its users meet
// it: through the exported API, over a real TLS server on an in-memory network,
// with a browser that keeps cookies. Time moves only under testing/synctest.
//
// harness_test.go has the server, the browser, and a backend that fails on
// demand; the other files are named after the part of the library they hold to
// its word. bench_test.go measures it beside gorilla's own store.
package promises
