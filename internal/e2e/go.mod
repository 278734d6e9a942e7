module github.com/sessionguard-go/sessionguard/internal/e2e

go 1.26
