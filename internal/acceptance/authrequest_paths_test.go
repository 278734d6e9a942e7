package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// A proxy resolves a path before it decides which application and which gates it is for. What
// depends on the path must not be decided about the path as it was before that: not by a gate,
// and not by the patterns of an application's CrossOriginProtection.
func TestAuthRequestRefusesAPathThatLeadsElsewhere(t *testing.T) {
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.AddInsecureBypassPattern("/hook/")
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.CrossOrigin = crossOrigin })
	s.mux.Handle("/auth", s.guard.AuthRequest(s.guard.RequireFunc(func(_ *user, r *http.Request) bool {
		return strings.HasPrefix(r.URL.Path, "/wiki/public/") || strings.HasPrefix(r.URL.Path, "/hook/")
	})))
	b := s.browse()
	b.login("ada")
	requireAnswer(t, b.ask("/auth", "GET", "/wiki/secret"), 403, "")
	requireAnswer(t, b.ask("/auth", "POST", "/hook/a", "Origin", "https://evil.example"), 204, "")
	for _, climb := range []string{"..", "%2e%2e", "..%2f", "..%2Fx/..", "x%2f..%2f..", "%252e%252e", "..;", "..;a=b", `..\`, "..%5c..", "./..", "%zz/../.."} {
		uri := "/wiki/public/" + climb + "/secret"
		requireAnswer(t, b.ask("/auth", "GET", uri), 403, "")
		requireAnswer(t, s.browse().ask("/auth", "GET", uri), 403, "")
		requireAnswer(t, b.ask("/auth", "POST", "/hook/"+climb+"/wiki/secret", "Origin", "https://evil.example"), 403, "")
	}
	for _, uri := range []string{"", "a..b", "...", ".well-known/a", "a%2Fb", "a//b", "a;b", "100%25", "?a=../b", "a?/../b", "%3F.."} {
		requireAnswer(t, b.ask("/auth", "GET", "/wiki/public/"+uri), 204, "")
	}
}

// No client sends a fragment. A program that splits one off would read another path or query than
// the gates.
func TestAuthRequestRefusesAFragment(t *testing.T) {
	s := newSite(t, nil)
	s.mux.Handle("/auth", s.guard.AuthRequest(s.guard.RequireFunc(func(_ *user, r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, ".css") || r.FormValue("book") == "open"
	})))
	b := s.browse()
	b.login("ada")
	for _, uri := range []string{"/wiki/a.css", "/wiki/a%23.css", "/wiki?a=%23&book=open"} {
		requireAnswer(t, b.ask("/auth", "GET", uri), 204, "")
	}
	for _, uri := range []string{"/wiki/secret", "/wiki/secret#.css", "/wiki/secret#/a.css?b", "/wiki?book=secret#&book=open", "/wiki?a=#&book=open"} {
		requireAnswer(t, b.ask("/auth", "GET", uri), 403, "")
	}
}

// A form that was parsed on the way to AuthRequest is that of the proxy's own request.
func TestGatesOfAuthRequestReadTheOriginalsForm(t *testing.T) {
	s := newSite(t, nil)
	auth := s.guard.AuthRequest(s.guard.RequireFunc(func(_ *user, r *http.Request) bool { return r.FormValue("book") == "open" }))
	s.mux.HandleFunc("/auth", func(w http.ResponseWriter, r *http.Request) {
		_ = r.FormValue("trace")
		auth.ServeHTTP(w, r)
	})
	b := s.browse()
	b.login("ada")
	requireAnswer(t, b.ask("/auth?book=open", "GET", "/wiki?book=secret"), 403, "")
	requireAnswer(t, b.ask("/auth", "GET", "/wiki?book=open"), 204, "")
}

// A gate that takes too long does not let a request pass, and does not write to a response
// that has gone out: the race detector would notice.
func TestAuthRequestWithAGateThatTakesTooLong(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		late := make(chan struct{})
		s.mux.Handle("/auth", s.guard.AuthRequest(
			func(next http.Handler) http.Handler {
				limited := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					next.ServeHTTP(w, r)
					if r.Context().Err() != nil {
						close(late)
					}
				})
				return http.TimeoutHandler(limited, time.Second, "too slow")
			},
			s.guard.RequireFunc(func(_ *user, r *http.Request) bool {
				if r.URL.Path == "/slow" {
					<-r.Context().Done()
				}
				return true
			})))
		b := s.browse()
		b.login("ada")
		requireAnswer(t, b.ask("/auth", "GET", "/wiki"), 204, "")
		requireAnswer(t, b.ask("/auth", "GET", "/slow"), 503, "")
		<-late
	})
}

// That a request may pass counts only as the response that says so, not as one that a
// middleware writes in its place.
func TestAuthRequestWithAGateThatResponds(t *testing.T) {
	s := newSite(t, nil)
	for _, status := range []int{200, 202, 206, 303, 404, 503} {
		route := fmt.Sprint("/auth/", status)
		s.mux.Handle(route, s.guard.AuthRequest(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(unseen{http.Header{}}, r)
				w.WriteHeader(status)
				io.WriteString(w, "come back tomorrow")
			})
		}))
		b := s.browse()
		b.login("ada")
		resp := b.ask(route, "GET", "/wiki")
		require.Contains(t, []int{401, 403, 503}, resp.StatusCode)
		requireAnswer(t, resp, resp.StatusCode, "")
	}
}

// unseen is a ResponseWriter that drops what is written.
type unseen struct{ header http.Header }

func (w unseen) Header() http.Header       { return w.header }
func (unseen) WriteHeader(int)             {}
func (unseen) Write(b []byte) (int, error) { return len(b), nil }
