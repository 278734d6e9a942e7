package frameworks

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"
	"github.com/stretchr/testify/require"
)

// transportWriter is the guard's ResponseWriter with what WebTransport needs of quic-go's.
type transportWriter struct {
	http.ResponseWriter
	http.Flusher
	http3.Settingser
	streamer http3.HTTPStreamer
}

func newTransportWriter(w http.ResponseWriter) (t transportWriter, ok bool) {
	t.ResponseWriter, t.Flusher = w, w.(http.Flusher)
	for under := w; ; {
		if t.streamer, ok = under.(http3.HTTPStreamer); ok {
			t.Settingser, ok = under.(http3.Settingser)
			return t, ok
		}
		u, ok := under.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return t, false
		}
		under = u.Unwrap()
	}
}

// HTTPStream lets the guard respond before quic-go hands over the stream.
func (t transportWriter) HTTPStream() *http3.Stream {
	if http.NewResponseController(t.ResponseWriter).Flush() != nil {
		panic(http.ErrAbortHandler) // the session has just ended, and the guard has said so
	}
	return t.streamer.HTTPStream()
}

func TestWebTransportEndsWithItsSession(t *testing.T) {
	s := newSite(t)
	certificates := httptest.NewUnstartedServer(nil)
	certificates.StartTLS()
	defer certificates.Close()
	roots := x509.NewCertPool()
	roots.AddCert(certificates.Certificate())

	mux := http.NewServeMux()
	server := webtransport.Server{H3: &http3.Server{
		TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: certificates.TLS.Certificates}),
		Handler:   s.guard.Handler(mux),
	}}
	webtransport.ConfigureHTTP3Server(server.H3)
	mux.HandleFunc("POST /login", plain{s.guard}.login)
	mux.Handle("/transport", s.guard.RequireLogin(s.guard.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tw, ok := newTransportWriter(w)
		if !ok {
			http.Error(w, "WebTransport only", http.StatusBadRequest)
			return
		}
		session, err := server.Upgrade(tw, r)
		if err != nil {
			return
		}
		<-r.Context().Done()
		_ = session.CloseWithError(1, string(reason(r.Context())))
	}))))
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = server.Serve(udp) }()
	t.Cleanup(func() { _ = server.Close() })
	url := "https://" + udp.LocalAddr().String()

	config := &tls.Config{RootCAs: roots, ServerName: "example.com"}
	dialer := webtransport.Transport{TLSClientConfig: config, QUICConfig: &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true}}
	resp, _, err := dialer.Dial(t.Context(), url+"/transport", nil)
	require.Error(t, err)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)

	transport := &http3.Transport{TLSClientConfig: config}
	defer transport.Close()
	r, err := http.NewRequestWithContext(t.Context(), "POST", url+"/login?name=ada&password=pw", nil)
	require.NoError(t, err)
	loggedIn, err := transport.RoundTrip(r)
	require.NoError(t, err)
	require.Equal(t, http.StatusSeeOther, loggedIn.StatusCode)
	cookie := http.Header{"Cookie": {loggedIn.Cookies()[0].Name + "=" + loggedIn.Cookies()[0].Value}}

	resp, session, err := dialer.Dial(t.Context(), url+"/transport", cookie)
	require.NoError(t, err)
	require.Contains(t, resp.Header.Get("Cache-Control"), "no-store", "the response has passed the guard")
	require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
	_, err = session.AcceptStream(t.Context())
	var ended *webtransport.SessionError
	require.ErrorAs(t, err, &ended)
	require.Equal(t, "ended", ended.Message)
	require.Empty(t, s.log.String())
}
