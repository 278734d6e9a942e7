// Package sessionguard makes sessions end.
//
// It wraps any [http.Handler] with sliding expiry, a logout that really logs out, pages
// that the Back button does not bring back afterwards, and role gates. It builds on
// gorilla/sessions, whose API for values and flashes stays as it is, and on
// gorilla/securecookie.
//
// # How it works
//
// The server keeps one session per login, and the cookie is only its name. Ending a
// session means deleting a record, and there is nothing to replay:
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
// package is a whole program.
//
// # Logging in and out
//
// [Guard.Login] begins a session under a new token once the application has verified the
// password. [Guard.Logout] and [Guard.End] end it. [Guard.User] returns the user who is
// logged in, and calls Config.FindUser at most once per request. [Factors], [Remember],
// [Label], [IdleTimeout] and [AbsoluteTimeout] are options of a login.
//
// # Gates
//
// [Guard.RequireLogin], [Guard.RequireRole] and [Guard.RequireFunc] decide who gets in.
// [Guard.RequireFresh] needs a recent login, [Guard.RequireFactor] a second factor, and
// [Guard.RequireBound] a session that is bound to its device. A refused browser is
// redirected, and any other client gets application/problem+json: see [Refusals].
//
// # Timeouts and activity
//
// A session ends Config.IdleTimeout after the last activity, and Config.AbsoluteTimeout after
// the login. [Guard.Passive] serves requests that are no activity, and [Guard.Active] notes
// activity that is no request. [Guard.CancelOnEnd] ends streams and WebSockets with their
// session. [Guard.EndReason] says why a session has ended.
//
// # Sessions of a user, and of everybody
//
// [Guard.Sessions] lists where a user is logged in. [Guard.EndSession], [Guard.EndOthers]
// and [Guard.EndUser] end these sessions. [Guard.AllSessions], [Guard.CountSessions] and
// [Guard.EndAll] do so with everybody's. [Guard.ActAs] lets support staff act as another user.
//
// # Values
//
// A Guard is a gorilla [sessions.Store]: [Guard.Get] returns values and flashes.
// [Guard.PutSecret] and [Guard.TakeSecret] keep secrets that are given out once.
//
// # Pages in the browser
//
// [Guard.Script] and [Guard.ScriptTag] put a small script into pages. It hides them from Back,
// warns before the session ends, and takes them off the screen at its end. [NoCache] and all
// responses that depend on the session forbid caching.
//
// # Other packages
//
// Package sessionguardtest is for the tests of an application. Packages sqlstore and
// redisstore keep the sessions of several nodes, and package store says what a backend is.
// The guides are at https://github.com/sessionguard-go/sessionguard/tree/main/docs.
//
// [sessions.Store]: https://pkg.go.dev/github.com/gorilla/sessions#Store
package sessionguard
