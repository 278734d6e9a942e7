package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
	_ "modernc.org/sqlite" // the driver "sqlite", in Go
)

// sqlite returns a storage in a file. Each node has its own connections, like a separate
// process.
func sqlite(path string) (storage, error) {
	// SQLite would also create the file, but readable for everyone, and its error would
	// not explain an invalid path.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return storage{}, fmt.Errorf("-db: %w", err)
	}
	file.Close()
	absolute, err := filepath.Abs(path)
	if err != nil {
		return storage{}, fmt.Errorf("-db: %w", err)
	}
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(absolute)} // a plain path must not contain a ?
	return storage{path, func(ctx context.Context) (store.Backend, func(), error) {
		db, err := sql.Open("sqlite", dsn.String())
		if err != nil {
			return nil, nil, err
		}
		sessions, err := sqlstore.New(db, sqlstore.SQLite, sqlstore.Config{})
		if err == nil {
			err = sessions.EnsureSchema(ctx)
		}
		if err != nil {
			db.Close()
			return nil, nil, err
		}
		sweeping, stop := context.WithCancel(context.Background())
		swept := make(chan struct{})
		go func() {
			defer close(swept)
			sessions.Sweep(sweeping)
		}()
		return sessions, func() {
			stop()
			<-swept
			db.Close()
		}, nil
	}}, nil
}
