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

// Bind binds r's session to a device, as a browser with Device Bound Session Credentials does
// after the login, and gives r a proof of that, which was made age ago: for pages behind
// [sessionguard.Guard.RequireBound], and for what becomes of a copied cookie. Called again, it
// only makes another proof. Bind returns r.
//
//	sessionguardtest.Bind(t, guard, client, 0)             // has just proven its device
//	sessionguardtest.Bind(t, guard, client, 5*time.Minute) // too old for RequireBound(2*time.Minute)
//	sessionguardtest.Bind(t, guard, client, time.Hour)     // as if somebody had copied the cookies then
//
// A browser proves its device again when that is due, and before a request. A request or a
// client does so only if Bind is called: [Age] and [Idle] leave the proof as it is, but time
// that passes under testing/synctest, and a redirect of RequireBound, do not.
//
// The test fails at once without Config.DeviceProof, and if r has no session. Where somebody acts for
// the user, their own session is bound.
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
