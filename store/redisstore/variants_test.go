package redisstore

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/nodes"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

var (
	sharedValkey = servers.Shared(func(t servers.T) *servers.Server {
		return servers.Redis(t, servers.RedisOptions{Valkey: true})
	})
	sharedTLS = servers.Shared(func(t servers.T) *servers.Server {
		return servers.Redis(t, servers.RedisOptions{TLS: true, Password: "another"})
	})
)

func TestConformanceOnValkey(t *testing.T) {
	addr := sharedValkey(t).Addr
	for name, config := range map[string]Config{"plain": patient, "with caching": patientCaching} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, config, addr)
			storetest.Run(t, func(*testing.T) store.Backend { return s })
		})
	}
}

func TestConformanceOfTwoNodesOnValkey(t *testing.T) {
	a, b := openStore(t, Config{}, sharedValkey(t).Addr), openStore(t, Config{}, sharedValkey(t).Addr)
	storetest.RunNodes(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
}

func TestTwoGuardsOnAValkeyCluster(t *testing.T) {
	c := servers.RedisCluster(t, servers.RedisOptions{Valkey: true})
	a, b := openStore(t, Config{}, c[0].Addr), openStore(t, Config{}, c[2].Addr)
	storetest.Run(t, func(*testing.T) store.Backend { return a })
	nodes.Run(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
}

// overTLS returns options for a connection to a server with TLS that trusts the authority
// with the certificate in file ca.
func overTLS(t testing.TB, server *servers.Server, ca string) rueidis.ClientOption {
	t.Helper()
	o, err := rueidis.ParseURL(server.DSN(server.Addr))
	require.NoError(t, err)
	certificate, err := os.ReadFile(ca)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(certificate))
	o.TLSConfig = &tls.Config{RootCAs: roots, ServerName: "localhost"}
	return o
}

func openOverTLS(t testing.TB, config Config) *Store {
	t.Helper()
	s, err := New(overTLS(t, sharedTLS(t), sharedTLS(t).CA), config)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func TestConformanceOverTLS(t *testing.T) {
	for name, config := range map[string]Config{"plain": patient, "with caching": patientCaching} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openOverTLS(t, config)
			storetest.Run(t, func(*testing.T) store.Backend { return s })
		})
	}
}

func TestConformanceOfTwoNodesOverTLS(t *testing.T) {
	a, b := openOverTLS(t, Config{}), openOverTLS(t, Config{})
	storetest.RunNodes(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
}

// The password goes only to a server whose certificate is right, and is in no error.
func TestServerThatCannotBeVerifiedIsRefused(t *testing.T) {
	server := sharedTLS(t)
	other := servers.Redis(t, servers.RedisOptions{TLS: true})
	wrongAuthority := overTLS(t, server, other.CA)
	wrongName := overTLS(t, server, server.CA)
	wrongName.TLSConfig.ServerName = "sessions.example"
	systemAuthorities := overTLS(t, server, server.CA)
	systemAuthorities.TLSConfig = &tls.Config{ServerName: "localhost"}
	plain := overTLS(t, server, server.CA)
	plain.TLSConfig = nil
	for name, o := range map[string]rueidis.ClientOption{
		"another authority": wrongAuthority, "another name": wrongName, "an authority that is not the system's": systemAuthorities,
		"without TLS": plain,
	} {
		t.Run(name, func(t *testing.T) {
			o.Password = secret
			s, err := New(o, Config{})
			require.Nil(t, s)
			require.Error(t, err)
			if name != "without TLS" {
				require.ErrorContains(t, err, "certificate")
			}
			for ; err != nil; err = unwrap(err) {
				require.NotContains(t, err.Error(), secret)
			}
		})
	}
}
