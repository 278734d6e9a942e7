module github.com/sessionguard-go/sessionguard/internal/e2e

go 1.26

require github.com/sessionguard-go/sessionguard v0.1.0

require (
	github.com/gorilla/securecookie v1.1.2 // indirect
	github.com/gorilla/sessions v1.4.0 // indirect
)

replace github.com/sessionguard-go/sessionguard => ../..
