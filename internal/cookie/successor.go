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
	return successorCipher(c.authKeys[0], previous).Seal(nil, nil, []byte(value), nil)
}

// OpenSuccessor returns the value that SealSuccessor sealed for previous, and
// reports whether one of our keys opens it.
func (c *Codec) OpenSuccessor(previous string, sealed []byte) (value string, ok bool) {
	for _, key := range c.authKeys {
		if b, err := successorCipher(key, previous).Open(nil, nil, sealed, nil); err == nil {
			return string(b), true
		}
	}
	return "", false
}

// successorCipher derives its key from an authentication key and the previous
// cookie. The label keeps this use of the authentication key apart from the
// signatures, which begin with the name of a cookie: names contain no space.
func successorCipher(authKey []byte, previous string) cipher.AEAD {
	mac := hmac.New(sha256.New, authKey)
	mac.Write([]byte("sessionguard successor\x00" + previous))
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
