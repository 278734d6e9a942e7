package histories

import (
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// semiSyncSetup kills the primary of MariaDB with semi-synchronous replication. The nodes
// find the other one at the same address.
func semiSyncSetup(t *testing.T) setup {
	p := &pair{servers.MariaDBWithReplication(t, 1), servers.MariaDBWithReplication(t, 2)}
	require.NoError(t, p.replicateMariaDB())
	network := servers.NewProxy(t, p.primary.Addr)
	f := startFleet(t, func(int) nodeConfig {
		return nodeConfig{Dialect: sqlstore.MySQL, DSN: p.primary.DSN(network.Addr)}
	})
	return setup{fleet: f, faults: p.faults(false, func() error {
		return mariaDBExec(p.replica, `STOP SLAVE IO_THREAD`)
	}, func() error {
		err := await(func() error { // it has applied all that it has received
			s, err := mariaDBQuery(p.replica, `SHOW SLAVE STATUS`)
			applied, err2 := mariaDBQuery(p.replica, `SELECT @@gtid_slave_pos AS gtid`)
			if s["Gtid_IO_Pos"] != applied["gtid"] {
				err = fmt.Errorf("received %s, applied %s", s["Gtid_IO_Pos"], applied["gtid"])
			}
			return errors.Join(err, err2)
		})
		err = errors.Join(err, mariaDBExec(p.replica, `STOP SLAVE`, `RESET SLAVE ALL`))
		network.Switch(p.replica.Addr)
		return err
	}, func() error { return errors.Join(p.replica.Start(), p.replicateMariaDB()) })}
}

// replicateMariaDB makes commits wait until the replica has received them. What the replica
// holds may be more than what the primary knows of, so it begins with a copy.
func (p *pair) replicateMariaDB() error {
	host, port, _ := net.SplitHostPort(p.primary.Addr)
	_, replicaPort, _ := net.SplitHostPort(p.replica.Addr)
	err := mariaDBExec(p.replica, `SET sql_log_bin = 0`, `DROP DATABASE test`, `CREATE DATABASE test`, `RESET MASTER`)
	if err != nil {
		return err
	}
	out, err := exec.Command("/bin/sh", "-c", `mariadb-dump --no-defaults --host="$0" --port="$1" --user=root --single-transaction --gtid --master-data test |
		mariadb --no-defaults --host="$0" --port="$2" --user=root --init-command="SET sql_log_bin = 0" test`, host, port, replicaPort).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return errors.Join(
		mariaDBExec(p.replica, `CHANGE MASTER TO MASTER_HOST = '`+host+`', MASTER_PORT = `+port+`, MASTER_USER = 'root', MASTER_USE_GTID = slave_pos`),
		mariaDBExec(p.primary, `SET GLOBAL rpl_semi_sync_master_enabled = ON`),
		mariaDBExec(p.replica, `START SLAVE`), // which asks, when it connects, whether that is on
		await(func() error {
			status, err := mariaDBQuery(p.primary, `SHOW STATUS LIKE 'Rpl_semi_sync_master_clients'`)
			if err == nil && status["Value"] != "1" {
				s, _ := mariaDBQuery(p.replica, `SHOW SLAVE STATUS`)
				err = fmt.Errorf("the replica is not there: %s %s", s["Last_IO_Error"], s["Last_SQL_Error"])
			}
			return err
		}))
}

func mariaDBExec(s *servers.Server, statements ...string) error {
	db, err := sql.Open("mysql", s.DSN(s.Addr))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// mariaDBQuery returns the first row of a query, by column.
func mariaDBQuery(s *servers.Server, query string) (map[string]string, error) {
	db, err := sql.Open("mysql", s.DSN(s.Addr))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.Query(query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil || !rows.Next() {
		return nil, errors.Join(err, rows.Err(), fmt.Errorf("%s returned nothing", query))
	}
	values, targets := make([]sql.NullString, len(names)), make([]any, len(names))
	for n := range values {
		targets[n] = &values[n]
	}
	err = rows.Scan(targets...)
	row := map[string]string{}
	for n, name := range names {
		row[name] = values[n].String
	}
	return row, err
}
