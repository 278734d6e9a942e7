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

// sqlite keeps sessions in a file. Each node has connections of its own, as another
// process would.
func sqlite(path string) (place, error) {
	// SQLite would make the file too, but readable to everyone, and would not
	// say what is wrong with its path.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return place{}, fmt.Errorf("-db: %w", err)
	}
	file.Close()
	absolute, err := filepath.Abs(path)
	if err != nil {
		return place{}, fmt.Errorf("-db: %w", err)
	}
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(absolute)} // a bare path may not have a ? in it
	return place{path, func(ctx context.Context) (store.Backend, func(), error) {
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
