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

// redis keeps sessions in the Redis that the flag names. Each node has connections
// of its own, which tell it of sessions that end on the others.
func redis(flag string) (place, error) {
	option, err := redisOption(flag)
	if err != nil {
		return place{}, err
	}
	name := "Redis at " + strings.Join(option.InitAddress, ", ")
	return place{name, func(context.Context) (store.Backend, func(), error) {
		sessions, err := redisstore.New(option, redisstore.Config{})
		if err != nil {
			return nil, nil, err
		}
		return sessions, sessions.Close, nil
	}}, nil
}

// The flag may have a password in it, in its right place or elsewhere by mistake, so
// errors do not repeat it: those of package url do.
var (
	errRedisAddress = errors.New("-redis: not host:port, nor several with commas between them, nor a redis:// or rediss:// URL")
	errRedisURL     = errors.New("-redis: not a valid URL; in a password, / ? # and @ are written as %2F %3F %23 and %40")
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
		// A password with a slash in it: what is before is taken for the host.
		return rueidis.ClientOption{}, errRedisURL
	}
	option, err := rueidis.ParseURL(flag)
	if err != nil {
		return rueidis.ClientOption{}, errRedisURL
	}
	return option, nil
}
