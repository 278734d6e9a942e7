package sessionguardtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testhook"
)

// Bind binds r's session to a device, as a browser with Device Bound Session Credentials
// does after the login. It gives r a proof of the device that was made age ago. It is for
// pages behind [sessionguard.Guard.RequireBound], and to test a copied cookie. A second
// call only makes another proof. Bind returns r.
//
//	sessionguardtest.Bind(t, guard, client, 0)             // has just proven its device
//	sessionguardtest.Bind(t, guard, client, 5*time.Minute) // too old for RequireBound(2*time.Minute)
//	sessionguardtest.Bind(t, guard, client, time.Hour)     // as if somebody had copied the cookies then
//
// A browser proves its device again when that is due, before it sends the request. A
// request or a [Client] does so only in Bind. Time that passes under testing/synctest
// makes the proof older, and a redirect of RequireBound deletes it. [Age] and [Idle] leave
// it as it is.
//
// The test fails at once without Config.DeviceProof, and if r has no session. If somebody
// acts for the user, the actor's session is bound.
func Bind[U sessionguard.User, R *http.Request | *Client](t testing.TB, guard *sessionguard.Guard[U], r R, age time.Duration) R {
	t.Helper()
	if age < 0 {
		t.Fatalf("sessionguardtest: Bind: %v is negative", age)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("sessionguardtest: Bind: %v", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatalf("sessionguardtest: Bind: %v", err)
	}
	b := browserOf(t, r)
	w := httptest.NewRecorder()
	if err := testhook.Bind(guard, w, b.request(), public, age); err != nil {
		t.Fatalf("sessionguardtest: Bind: %v", err)
	}
	b.keep(w.Result().Cookies())
	return r
}
