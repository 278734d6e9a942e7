package main

import (
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
)

func TestKeysAreCreatedOnceAndOnlyForTheirOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	var found [8][][]byte
	var wg sync.WaitGroup
	for i := range found {
		wg.Go(func() {
			var err error
			if found[i], err = loadKeys(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, keys := range found {
		if len(keys) != 1 || len(keys[0]) != 32 || !reflect.DeepEqual(keys, found[0]) {
			t.Errorf("got %x and %x", keys, found[0])
		}
	}
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if info, err := files[0].Info(); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func TestInvalidKeysAreRefused(t *testing.T) {
	short := "00112233445566778899aabbccddeeff\n"
	key := short[:32] + short
	for _, text := range []string{"", "\n", short, key + short, key + "0011\n", "no key\n" + key} {
		path := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if keys, err := loadKeys(path); err == nil {
			t.Errorf("%q was loaded as %x", text, keys)
		}
	}
}
