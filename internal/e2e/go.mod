module github.com/sessionguard-go/sessionguard/internal/e2e

go 1.26.0

require (
	github.com/redis/rueidis v1.0.79
	github.com/sessionguard-go/sessionguard v0.1.0
	github.com/sessionguard-go/sessionguard/store/redisstore v0.1.0
	github.com/sessionguard-go/sessionguard/store/sqlstore v0.1.0
	modernc.org/sqlite v1.62.0
)

require (
	github.com/dustin/go-humanize v1.1.0 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/gorilla/securecookie v1.1.2 // indirect
	github.com/gorilla/sessions v1.4.0 // indirect
	github.com/mattn/go-isatty v0.0.24 // indirect
	github.com/ncruces/go-strftime v1.1.0 // indirect
	github.com/remyoudompheng/bigfft v0.0.0-20230129092748-24d4a6f8daec // indirect
	golang.org/x/sys v0.49.0 // indirect
	modernc.org/libc v1.80.1 // indirect
	modernc.org/mathutil v1.7.1 // indirect
	modernc.org/memory v1.12.1 // indirect
)

replace (
	github.com/sessionguard-go/sessionguard => ../..
	github.com/sessionguard-go/sessionguard/store/redisstore => ../../store/redisstore
	github.com/sessionguard-go/sessionguard/store/sqlstore => ../../store/sqlstore
)
