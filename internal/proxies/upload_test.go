package proxies

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// docs/proxies.md: an upload is activity while the application reads it, so that the proxy
// must not keep it until it is complete.
func TestAnUploadArrivesAsItIsSent(t *testing.T) {
	begun := make(chan struct{}, 1)
	app := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first, _ := io.ReadFull(r.Body, make([]byte, 1))
		begun <- struct{}{}
		rest, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, first+int(rest))
	}))
	const half = 1 << 20 // more than nginx accepts by default
	for _, s := range sites {
		t.Run(s.name, func(t *testing.T) {
			b := browseTLS(t, s.serve(t, []string{app}, s.upload...), "HTTP/2.0")
			body, sent := io.Pipe()
			go func() {
				_, _ = sent.Write(make([]byte, half))
				select {
				case <-begun:
				case <-time.After(20 * time.Second):
					sent.CloseWithError(fmt.Errorf("the proxy keeps the upload"))
				}
				_, _ = sent.Write(make([]byte, half))
				sent.Close()
			}()
			r := b.Request("POST", "/upload")
			r.Body, r.ContentLength = body, -1
			require.Equal(t, fmt.Sprint(2*half), b.Do(r).Expect(http.StatusOK, "").Body)
		})
	}
}
