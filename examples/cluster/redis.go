package main

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"

	"github.com/redis/rueidis"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/redisstore"
)

// redis returns a storage in the Redis server or cluster that the flag names. Each node has
// its own connections, through which it learns of sessions that end on other nodes.
func redis(flag string) (storage, error) {
	option, err := redisOption(flag)
	if err != nil {
		return storage{}, err
	}
	name := "Redis at " + strings.Join(option.InitAddress, ", ")
	return storage{name, func(context.Context) (store.Backend, func(), error) {
		sessions, err := redisstore.New(option, redisstore.Config{})
		if err != nil {
			return nil, nil, err
		}
		return sessions, sessions.Close, nil
	}}, nil
}

// These errors do not repeat the flag, as those of package url would: it may contain a
// password, in its proper place or elsewhere by mistake.
var (
	errRedisAddress = errors.New("-redis: not host:port, a comma-separated list of them, or a redis:// or rediss:// URL")
	errRedisURL     = errors.New("-redis: not a valid URL; in a password, write / ? # and @ as %2F %3F %23 and %40")
)

func redisOption(flag string) (rueidis.ClientOption, error) {
	if strings.Contains(flag, "://") {
		return redisURL(flag)
	}
	option := rueidis.ClientOption{InitAddress: strings.Split(flag, ",")}
	for _, addr := range option.InitAddress {
		if host, port, err := net.SplitHostPort(addr); err != nil || port == "" || strings.Contains(host, "@") {
			return option, errRedisAddress
		}
	}
	return option, nil
}

func redisURL(flag string) (rueidis.ClientOption, error) {
	u, err := url.Parse(flag)
	switch {
	case err != nil:
		return rueidis.ClientOption{}, errRedisURL
	case u.Scheme != "redis" && u.Scheme != "rediss":
		return rueidis.ClientOption{}, errRedisAddress
	case strings.Contains(u.Path+u.RawQuery+u.Fragment, "@"):
		// The password contains a slash, so url.Parse took the text before it for the host.
		return rueidis.ClientOption{}, errRedisURL
	}
	option, err := rueidis.ParseURL(flag)
	if err != nil {
		return rueidis.ClientOption{}, errRedisURL
	}
	return option, nil
}
