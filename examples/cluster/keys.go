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

// loadKeys reads the keys that sign and encrypt the cookies, and creates them on the first
// run. They are secret: they allow forging visitors' cookies, though not sessions. The file
// has one hexadecimal key per line, in pairs. To rotate the keys, put a new pair first.
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
		if err != nil || len(key) < 16 {
			return nil, fmt.Errorf("keys: line %d of %s is not a key in hexadecimal", len(keys)+1, path)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 || len(keys)%2 != 0 {
		return nil, fmt.Errorf("keys: %s has %d lines, not pairs of an authentication and an encryption key", path, len(keys))
	}
	return keys, nil
}

// makeKeys writes new keys to a temporary file and links it to path, so that another process
// that starts at the same time finds a complete file or none. If both create keys, the first
// file is kept.
func makeKeys(path string) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".keys-*") // CreateTemp uses mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	authentication, encryption := make([]byte, 64), make([]byte, 32)
	rand.Read(authentication) // never returns an error: a failure ends the process
	rand.Read(encryption)
	_, err = fmt.Fprintf(file, "%x\n%x\n", authentication, encryption)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
