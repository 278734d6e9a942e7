package mac

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func sumOf(k *Key, message []byte) []byte {
	m := k.Get()
	defer k.Put(m)
	return bytes.Clone(m.Sum(append(m.Message(), message...)))
}

func TestACodeIsTheHMACOfItsMessage(t *testing.T) {
	for _, length := range []int{1, 32, 64, 200} {
		key := bytes.Repeat([]byte{7}, length)
		k := NewKey(key)
		for _, n := range []int{0, 1, 32, maxMessage, maxMessage + 1, 1000} {
			message := bytes.Repeat([]byte{3}, n)
			reference := hmac.New(sha256.New, key)
			reference.Write(message)
			for range 3 {
				require.Equal(t, reference.Sum(nil), sumOf(k, message), "%d, %d", length, n)
			}
		}
	}
}

func TestCodesOfConcurrentCallsAreTheirOwn(t *testing.T) {
	k := NewKey([]byte("key"))
	var wg sync.WaitGroup
	for i := range 8 {
		message := bytes.Repeat([]byte{byte(i)}, 32)
		want := sumOf(NewKey([]byte("key")), message)
		wg.Go(func() {
			for range 1000 {
				if !bytes.Equal(sumOf(k, message), want) {
					t.Error("a code of another message")
				}
			}
		})
	}
	wg.Wait()
}
