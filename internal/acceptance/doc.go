// Package acceptance tests every promise of sessionguard the way its users meet
// it: through the exported API, over a real TLS server on an in-memory network,
// with a browser that keeps cookies. Time moves only under testing/synctest.
//
// harness_test.go has the server, the browser, and a backend that fails on
// demand; the other files are named after the part of the library they hold to
// its word. bench_test.go measures it beside gorilla's own store.
//
// Comments name the rule that a test holds:
//
//	L1  idle: nothing is accepted later than the timeout after the last accepted activity
//	L2  absolute: set at login, moved by nothing but a new login
//	L3  no resurrection: what is in flight when a session ends changes nothing any more
//	L4  no lost updates: requests that change different values both win
//	L5  a backend that is down is a 503 and ends nothing; a logout never claims what it could not do
//	L6  a commit that fails suppresses the page; hanging up stops nothing half-way
//	I1  a login always mints a token and ends what the browser presented
//	I2  user, active flag and role are read anew on every request, once
//	I3  freshness is the age of the last real login
//	I4  a session's public ID is random and survives re-authentication
//	C1  an answer that depends on who asks is never cached, whatever is done to its headers
//	C2  a logout sets a cookie to a fresh value, which empties the back/forward cache
//	C3  the guard script knows whose page it is on and what is left of the session; internal/e2e has it in browsers
//	W1  the writer commits once, at the first final status, however the answer begins
//	W2  values that an abandoned handler may still write to are left alone
//	W3  upload files and the route are given back to the caller's request
//	K1  cookies have every attribute, one Set-Cookie each, and a hit sets none
//	K2  a cookie that is not exactly ours is a stranger's: no backend call, no error, no deletion
//	R1  unsafe cross-origin requests are refused; logout is POST only
//	R2  "next" is a path on this server or ignored
//	R3  a refusal fits its client
package acceptance
