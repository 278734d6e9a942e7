package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// loadKeys reads the keys for the cookies, and creates one on the first run. They are
// secret: they allow forging visitors' cookies, though not sessions. The file has one
// hexadecimal key per line. To rotate, put a new one first.
func loadKeys(path string) ([][]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKeys(path); err == nil {
			text, err = os.ReadFile(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	var keys [][]byte
	for line := range bytes.Lines(text) {
		key, err := hex.DecodeString(string(bytes.TrimSpace(line)))
		if err != nil || len(key) < 32 {
			return nil, fmt.Errorf("keys: line %d of %s is not a key of 32 bytes in hexadecimal", len(keys)+1, path)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("keys: %s is empty", path)
	}
	return keys, nil
}

// makeKeys writes a new key to a temporary file and links it to path, so that another process
// that starts at the same time finds a complete file or none. If both create one, the first
// file is kept.
func makeKeys(path string) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".keys-*") // CreateTemp uses mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	key := make([]byte, 32)
	rand.Read(key) // never returns an error: a failure ends the process
	_, err = fmt.Fprintf(file, "%x\n", key)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
