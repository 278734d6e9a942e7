// Package acceptance tests every promise of sessionguard as its users meet it: through
// the exported API, over a TLS server on a network in memory, with a browser that keeps
// cookies. Tests of timeouts run on the fake clock of testing/synctest.
//
// The files called harness have what the tests share: the application and its users, the
// server, the browser, and a backend that fails on demand. Those called random run random
// handlers against a model of browsers and sessions. The other files are named
// after the part of the library that they test. bench_test.go compares the library with
// gorilla's own store.
//
// A comment on a test names the rule that the test checks. These are the rules.
//
// # Liveness
//
// L1, idle timeout: A request later than the idle timeout after the last activity is
// refused. A request counts as activity when it is accepted, while its body is read and
// when it ends, unless it is passive.
//
// L2, absolute timeout: A session ends at a time that is set at login. Only a new login
// moves it.
//
// L3, no resurrection: A request that is still running when its session ends cannot
// extend, change or recreate the session.
//
// L4, no lost updates: If two requests change different values of a session at the same
// time, both changes are stored.
//
// L5, backend failures: If the backend fails, the response is a 503, the session does
// not end, and the browser keeps its cookie. A logout that could not end the session
// reports that with a 503, although it clears the browser's cookie.
//
// L6, commit failures: If the session cannot be stored, the page is not sent. A client
// that disconnects does not interrupt a logout. A login is then undone, since nobody has
// the cookie.
//
// # Identity
//
// I1, session fixation: A login always creates a new token and ends the session whose
// cookie the browser sent.
//
// I2, current user: Every request reads the user, the active flag and the roles again,
// but only once.
//
// I3, freshness: A session is as fresh as its last login. Nothing but a new login makes
// it fresh again.
//
// I4, public ID: The ID by which a session is listed and ended is random, is not a key
// of the backend, and stays the same if the user logs in again.
//
// # Factors
//
// F1, whole logins: A user is logged in once all factors that the user needs have been
// proven, in one session, by logins of this user.
//
// F2, pending logins: A login that lacks a factor is a visitor's for everything but gates,
// which refuse it, Pending, Login and Logout. It ends after a short time, and with whatever
// ends a session.
//
// F3, completion: The login that completes a pending one has a new token, and ends it. Only
// one does.
//
// F4, nothing before: A pending login has no values of its own, is not remembered, is no
// device, and counts for no limit.
//
// F5, stronger factors: A gate can need a factor, or one that was proven lately.
//
// # Caching
//
// C1, no-store: A response that depends on the session is sent with headers that forbid
// caching, whatever the handler or the standard library does to the headers. So are all
// informational responses. internal/proxies tests real proxies.
//
// C2, back/forward cache: A logout sets a cookie to a fresh value. Chromium then drops
// the earlier pages from its back/forward cache, which it does not do if a cookie is
// only deleted.
//
// C3, guard script: The script in a page knows whose page it is and how long the session
// lasts. internal/e2e tests the script in browsers.
//
// # Response writer
//
// W1, one commit: The session is stored, and the cookies and headers are added, exactly
// once: at the first final status, however the handler begins its response.
//
// W2, abandoned handlers: If a handler may still be running when the response is
// committed, for example after http.TimeoutHandler gave up on it, the values that it
// could change are not saved.
//
// W3, request copies: The guard gives handlers a copy of the request. It passes uploaded
// files and the matched route back to the original, so that the server removes the files
// and outer middleware knows the route.
//
// # Cookies
//
// K1, attributes: Every cookie has all its security attributes. A response sets a cookie
// at most once, and an ordinary request to a live session sets none.
//
// K2, unknown cookies: A cookie that the guard did not sign is treated like no cookie:
// it causes no backend call, no error page and no deletion. Only a login, a logout and a
// revival write the session cookie. Of several cookies the one counts that the guard signed
// and that names a live session; if two do, none counts.
//
// # Requests
//
// R1, cross-origin requests: Unsafe requests from other origins are refused, and so is what
// their pages load from behind a gate. A logout must arrive as a POST, whatever a middleware
// makes of it.
//
// R2, open redirects: The parameter "next" is a path on this server, or it is ignored.
//
// R3, refusals: A refusal has the form that its client needs: a redirect for navigation
// in a browser, a status and a problem document for other clients.
package acceptance
