module github.com/sessionguard-go/sessionguard/store/sqlstore

go 1.26

require github.com/sessionguard-go/sessionguard v0.1.0

replace github.com/sessionguard-go/sessionguard => ../..
