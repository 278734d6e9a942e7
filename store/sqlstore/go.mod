module github.com/sessionguard-go/sessionguard/store/sqlstore

go 1.26

require (
	github.com/sessionguard-go/sessionguard v0.1.0
	github.com/stretchr/testify v1.12.1
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect

replace github.com/sessionguard-go/sessionguard => ../..
