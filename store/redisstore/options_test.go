package redisstore

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

func TestUnsafeOptionsAreRefused(t *testing.T) {
	cached := Config{CacheFor: time.Second}
	for name, c := range map[string]struct {
		option rueidis.ClientOption
		config Config
		want   string // in the error
	}{
		"an opening brace":      {config: Config{Prefix: "a{b"}, want: "Prefix"},
		"a closing brace":       {config: Config{Prefix: "a}b"}, want: "Prefix"},
		"a negative Timeout":    {config: Config{Timeout: -1}, want: "Timeout"},
		"a negative CacheFor":   {config: Config{CacheFor: -1}, want: "CacheFor"},
		"ReplicaOnly":           {option: rueidis.ClientOption{ReplicaOnly: true}, want: "replicas"},
		"SendToReplicas":        {option: rueidis.ClientOption{SendToReplicas: func(rueidis.Completed) bool { return true }}, want: "replicas"},
		"ReadNodeSelector":      {option: rueidis.ClientOption{ReadNodeSelector: func(uint16, []rueidis.NodeInfo) int { return 0 }}, want: "replicas"},
		"ReplicaAddress":        {option: rueidis.ClientOption{Standalone: rueidis.StandaloneOption{ReplicaAddress: []string{"x"}}}, want: "replicas"},
		"ConnLifetime":          {option: rueidis.ClientOption{ConnLifetime: time.Minute}, want: "ConnLifetime"},
		"DialFn":                {option: rueidis.ClientOption{DialFn: func(string, *net.Dialer, *tls.Config) (net.Conn, error) { return nil, nil }}, want: "DialCtxFn"},
		"DisableCache":          {option: rueidis.ClientOption{DisableCache: true}, config: cached, want: "DisableCache"},
		"AlwaysRESP2":           {option: rueidis.ClientOption{AlwaysRESP2: true}, config: cached, want: "RESP3"},
		"ClientTrackingOptions": {option: rueidis.ClientOption{ClientTrackingOptions: []string{"NOLOOP"}}, config: cached, want: "ClientTrackingOptions"},
		"NewCacheStoreFn":       {option: rueidis.ClientOption{NewCacheStoreFn: func(rueidis.CacheStoreOption) rueidis.CacheStore { return nil }}, config: cached, want: "NewCacheStoreFn"},
	} {
		t.Run(name, func(t *testing.T) {
			c.option.InitAddress = []string{sharedServer(t).Addr}
			s, err := New(c.option, c.config)
			require.Nil(t, s)
			require.ErrorContains(t, err, c.want)
			require.True(t, strings.HasPrefix(err.Error(), "redisstore: "))
		})
	}
}

func TestTimeoutBoundsEveryWait(t *testing.T) {
	for _, given := range []time.Duration{0, -1, time.Hour, time.Millisecond} {
		o := rueidis.ClientOption{ConnWriteTimeout: given}
		o.Dialer.Timeout, o.Dialer.KeepAlive, o.Sentinel.Dialer.Timeout = given, given, given
		for _, timeout := range []time.Duration{0, 100 * time.Millisecond} {
			o, c, err := prepareOptions(o, Config{Timeout: timeout})
			require.NoError(t, err)
			for _, d := range []time.Duration{o.Dialer.Timeout, o.Dialer.KeepAlive, o.ConnWriteTimeout, o.Sentinel.Dialer.Timeout} {
				require.Positive(t, d)
			}
			require.LessOrEqual(t, 2*o.Dialer.Timeout, c.Timeout, "connecting")
			require.LessOrEqual(t, 2*o.Sentinel.Dialer.Timeout, c.Timeout, "connecting to a sentinel")
			require.LessOrEqual(t, 2*o.Dialer.KeepAlive+o.ConnWriteTimeout, c.Timeout, "detecting a dead connection")
			if given == time.Millisecond {
				require.Equal(t, given, o.Dialer.Timeout, "a shorter timeout stays")
			}
		}
	}
}

const secret = "correct horse battery staple"

func TestErrorsContainNoPasswords(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{Password: "another"})
	for name, option := range map[string]rueidis.ClientOption{
		"wrong password":                  {Password: secret},
		"wrong password with a user name": {Username: "somebody", Password: secret},
		"wrong password over RESP2":       {Password: secret, AlwaysRESP2: true},
		"wrong password from a func": {AuthCredentialsFn: func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
			return rueidis.AuthCredentials{Password: secret}, nil
		}},
		"password from a func, not a Redis server": {DialCtxFn: echoDial, AuthCredentialsFn: func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
			return rueidis.AuthCredentials{Password: secret}, nil
		}},
		"not a Redis server": {Password: secret, DialCtxFn: echoDial},
		"no server":          {Password: secret, DialCtxFn: failingDial},
	} {
		for _, config := range []Config{{}, {CacheFor: time.Second}} {
			if config.CacheFor > 0 && option.AlwaysRESP2 {
				continue
			}
			option.InitAddress = []string{server.Addr}
			_, err := New(option, config)
			require.Error(t, err, name)
			for ; err != nil; err = unwrap(err) {
				require.NotContains(t, err.Error(), secret, name)
			}
		}
	}
}

func unwrap(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return nil
}

// The access list has the commands that the package documentation names.
func TestDocumentedAccessListIsSufficient(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	admin := openStore(t, Config{}, server.Addr)
	runCommand(t, admin, strings.Fields("ACL SETUSER limited on >"+strings.ReplaceAll(secret, " ", "")+
		" ~sessionguard:* &sessionguard:* +@connection +multi +exec"+
		" +get +getex +getrange +set +setrange +del +exists +pexpire +pttl +zadd +zrem +zcard +zrandmember +zrangebylex"+
		" +publish +subscribe +eval +evalsha")...)
	for _, cacheFor := range []time.Duration{0, time.Minute} {
		s, err := New(rueidis.ClientOption{
			InitAddress: []string{server.Addr}, Username: "limited", Password: strings.ReplaceAll(secret, " ", ""),
			ForceSingleClient: true,
		}, Config{CacheFor: cacheFor})
		require.NoError(t, err)
		defer s.Close()
		storetest.Run(t, func(*testing.T) store.Backend { return s })
	}
}

// failingDial returns an error that contains the password.
func failingDial(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	return nil, &net.OpError{Op: "dial", Err: net.UnknownNetworkError(secret)}
}

// echoDial connects to a server that rejects every command and repeats it in the error, as
// Redis does with a command that it does not know.
func echoDial(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		b := make([]byte, 4096)
		for {
			n, err := server.Read(b)
			if err != nil {
				return
			}
			repeated := strings.NewReplacer("\r", " ", "\n", " ").Replace(string(b[:n]))
			response := "-ERR unknown command, with args beginning with: " + repeated + "\r\n"
			if _, err := server.Write([]byte(strings.Repeat(response, strings.Count(repeated, "*")))); err != nil {
				return
			}
		}
	}()
	return client, nil
}
