// Package sessionguard makes sessions end.
//
// It wraps any [http.Handler] with sliding expiry, a logout that really logs out, pages
// that the Back button does not bring back afterwards, and role gates. It builds on
// gorilla/securecookie, and on gorilla/sessions, whose API for values and flashes stays as
// it is.
//
// # How it works
//
// The server keeps a record of each login, and the session cookie has nothing but a
// random token that leads to it. To end a session, the guard deletes the record. After
// that, no copy of the cookie is worth anything:
//
//	guard, err := sessionguard.New(sessionguard.Config[*User]{FindUser: find})
//
//	mux.Handle("POST /logout", guard.Logout("/"))
//	mux.Handle("GET /home", guard.RequireRole("Engineer")(home))
//	mux.Handle("/sessionguard/", guard.Script())
//
//	http.ListenAndServe(addr, guard.Handler(mux))
//
// Every wrapper is a func(http.Handler) http.Handler, or a method value of that type, and
// works with any router. [Guard.Passive] belongs outside the gates. The example of the
// package is a whole program. The terms are defined in docs/concepts.md, and
// docs/security.md says what the package does not protect against. All guides are at
// https://github.com/sessionguard-go/sessionguard/tree/main/docs.
//
// # Logging in and out
//
// [Guard.Login] begins a session under a new token, after the application has verified
// the password. [Guard.Logout] and [Guard.End] end it. [Guard.User] returns the user who
// is logged in, and calls Config.FindUser at most once per request. [Factors],
// [Remember], [Label], [IdleTimeout] and [AbsoluteTimeout] are options of a login.
//
// # Gates
//
// [Guard.RequireLogin], [Guard.RequireRole] and [Guard.RequireFunc] decide who gets in.
// [Guard.RequireFresh] requires a recent login, [Guard.RequireFactor] a second factor,
// and [Guard.RequireBound] a session that is bound to its device. A refused browser is
// redirected, and any other client gets application/problem+json: see [Refusals].
//
// # Timeouts and activity
//
// A session ends Config.IdleTimeout after the last activity, and Config.AbsoluteTimeout
// after the login. [Guard.Passive] serves requests that are no activity, and
// [Guard.Active] records activity that is no request. [Guard.CancelOnEnd] ends streams
// and WebSockets with their session. [Guard.EndReason] returns why a session has ended.
//
// # Sessions of a user, and of everybody
//
// [Guard.Sessions] lists where a user is logged in. [Guard.EndSession], [Guard.EndOthers]
// and [Guard.EndUser] end these sessions. [Guard.AllSessions], [Guard.CountSessions] and
// [Guard.EndAll] are for the sessions of all users. [Guard.ActAs] lets support staff act
// as another user.
//
// # Values
//
// A Guard is a gorilla [sessions.Store]: [Guard.Get] returns values and flashes.
// [Guard.PutSecret] and [Guard.TakeSecret] keep one-time secrets.
//
// # Pages in the browser
//
// [Guard.Script] and [Guard.ScriptTag] put the guard script into pages. It hides them
// from Back, warns before the session ends, and takes them off the screen at its end.
// [NoCache] and all responses that depend on the session forbid caching.
//
// # Other packages
//
// Package sessionguardtest is for the tests of an application. Packages sqlstore and
// redisstore are backends for several nodes, and package store says what a backend is.
//
// [sessions.Store]: https://pkg.go.dev/github.com/gorilla/sessions#Store
package sessionguard
