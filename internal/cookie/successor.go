package cookie

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
)

// SealSuccessor encrypts value, the session cookie that takes the place of
// previous, so that it can be recovered only with the previous cookie and our
// keys: a stolen backend is not enough.
func (c *Codec) SealSuccessor(previous, value string) []byte {
	return successorCipher(c.successorKeys[0], previous).Seal(nil, nil, []byte(value), nil)
}

// OpenSuccessor returns the value that SealSuccessor sealed for previous, and
// reports whether one of our keys opens it.
func (c *Codec) OpenSuccessor(previous string, sealed []byte) (value string, ok bool) {
	for _, key := range c.successorKeys {
		if b, err := successorCipher(key, previous).Open(nil, nil, sealed, nil); err == nil {
			return string(b), true
		}
	}
	return "", false
}

// successorCipher derives its key from one of ours and the previous cookie.
func successorCipher(key []byte, previous string) cipher.AEAD {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(previous))
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		panic(err) // 32 bytes are a valid key
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}
