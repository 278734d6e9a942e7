package docs

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

type user struct{}

func (user) UserID() string      { return "ada" }
func (user) IsActive() bool      { return true }
func (user) HasRole(string) bool { return true }

// One whose stamp is never read, since it is no string.
type stampedUser struct{ user }

func (stampedUser) SessionStamp() int { return 0 }

func find(context.Context, string) (user, error) { return user{}, nil }

type config = sessionguard.Config[user]

// mistakes are configurations that New refuses.
func mistakes() []config {
	key := bytes.Repeat([]byte{1}, 32)
	other := struct{ store.Backend }{store.NewMemory()}
	mistakes := []config{
		{Keys: [][]byte{[]byte("short")}},
		{Keys: [][]byte{make([]byte, 32)}},
		{IdleTimeout: 2 * time.Hour, AbsoluteTimeout: time.Hour},
		{MaxValuesBytes: 1},
		{LoginPath: "login"},
		{BasePath: "/app/"},
		{ScriptPath: "/js"},
		{Factors: func(user) []string { return nil }},
		{LogoutFlash: struct{ A int }{1}},
		{CookieDomain: "https://example.com"},
		{CookieName: "__Host-x", CookieDomain: "example.com"},
		{CookieName: "__Host-x", InsecureHTTP: true},
		{CookieName: "x-anonymous"},
		{SameSite: http.SameSiteNoneMode, InsecureHTTP: true},
		{Partitioned: true},
		{DeviceProof: 1},
		{DeviceProof: time.Hour, InsecureHTTP: true},
		{DeviceProof: time.Hour, CookieDomain: "example.com"},
		{DeviceProof: time.Hour, Partitioned: true, SameSite: http.SameSiteNoneMode},
	}
	for i := range mistakes {
		mistakes[i].FindUser = find
		if mistakes[i].Keys == nil {
			mistakes[i].Keys = [][]byte{key}
		}
	}
	return append(mistakes, config{Keys: [][]byte{key}}, config{FindUser: find, Backend: other})
}

// docs/configuration.md has the errors of New as they are.
func TestTheConfigurationPageHasTheErrorsOfNew(t *testing.T) {
	beginnings := keys(byMessage(t, "what-new-refuses"))
	found := map[string]bool{}
	note := func(err error) {
		require.Error(t, err)
		at := slices.IndexFunc(beginnings, func(beginning string) bool { return strings.HasPrefix(err.Error(), beginning) })
		require.GreaterOrEqual(t, at, 0, "the page does not have: %v", err)
		found[beginnings[at]] = true
	}
	for _, mistake := range mistakes() {
		_, err := sessionguard.New(mistake)
		note(err)
	}
	_, err := sessionguard.New(sessionguard.Config[stampedUser]{
		FindUser: func(context.Context, string) (stampedUser, error) { return stampedUser{}, nil }})
	note(err)
	require.Equal(t, beginnings, keys(found))
}

// docs/configuration.md has the warnings of New as they are.
func TestTheConfigurationPageHasTheWarningsOfNew(t *testing.T) {
	var log bytes.Buffer
	_, err := sessionguard.New(config{FindUser: find, DeviceProof: time.Minute, Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	require.NoError(t, err)
	beginnings := keys(byMessage(t, "what-new-warns-of"))
	warnings := 0
	for line := range strings.Lines(log.String()) {
		var record struct{ Level, Msg string }
		require.NoError(t, json.Unmarshal([]byte(line), &record))
		require.Equal(t, "WARN", record.Level)
		require.True(t, slices.ContainsFunc(beginnings, func(b string) bool { return strings.HasPrefix(record.Msg, b) }), record.Msg)
		warnings++
	}
	require.Equal(t, len(beginnings), warnings)
}

// byMessage returns the rows under a heading by their last cells.
func byMessage(t *testing.T, anchor string) map[string]row {
	t.Helper()
	rows := map[string]row{}
	for _, r := range rowsUnder(t, "docs/configuration.md", anchor) {
		rows[r.cells[len(r.cells)-1]] = r
	}
	return rows
}

// The record that docs/events.md shows is what a login logs.
func TestTheEventsPageShowsARealRecord(t *testing.T) {
	blocks := readPage(t, "docs/events.md").blocks
	at := slices.IndexFunc(blocks, func(b block) bool { return b.language == "json" })
	require.GreaterOrEqual(t, at, 0)
	var shown, logged map[string]any
	require.NoError(t, json.Unmarshal([]byte(blocks[at].code), &shown))

	var log bytes.Buffer
	guard, err := sessionguard.New(config{FindUser: find, Keys: [][]byte{bytes.Repeat([]byte{1}, 32)}, Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodPost, "https://app.example/login", nil)
	r.Header.Set("User-Agent", "Mozilla/5.0")
	guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.NoError(t, guard.Login(w, r, user{}, sessionguard.Factors("pwd")))
	})).ServeHTTP(httptest.NewRecorder(), r)
	require.NoError(t, json.Unmarshal(log.Bytes(), &logged), log.String())

	require.Len(t, shown["session"].(map[string]any)["id"], len(logged["session"].(map[string]any)["id"].(string)))
	for _, record := range []map[string]any{shown, logged} {
		_, err := time.Parse(time.RFC3339Nano, record[slog.TimeKey].(string))
		require.NoError(t, err)
		record[slog.TimeKey], record["session"].(map[string]any)["id"] = "", ""
	}
	require.Equal(t, logged, shown)
}

// docs/faq.md has messages of the log as the code has them.
func TestTheFAQHasTheMessagesOfTheLog(t *testing.T) {
	var source strings.Builder
	for _, content := range goFiles(t, root, false) {
		source.WriteString(content)
	}
	for message := range byName(t, rowsUnder(t, "docs/faq.md", "in-the-log")) {
		beginning, _, _ := strings.Cut(message, "…")
		logged := regexp.MustCompile(`(?:"sessionguard: |logError\(")` + regexp.QuoteMeta(beginning))
		require.True(t, logged.MatchString(source.String()), "the guard logs no such message: %s", message)
	}
}
