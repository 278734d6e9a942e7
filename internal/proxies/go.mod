module github.com/sessionguard-go/sessionguard/internal/proxies

go 1.26.0

require (
	github.com/sessionguard-go/sessionguard v0.1.0
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/gorilla/securecookie v1.1.2 // indirect
	github.com/gorilla/sessions v1.4.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)

replace github.com/sessionguard-go/sessionguard => ../..
