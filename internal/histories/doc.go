// Package histories runs three processes of an application that share one backend, while
// browsers send requests and servers, networks and processes fail. It records every request,
// and package check decides whether the history keeps sessionguard's promises.
//
//	go test .                                             # each configuration for a few seconds
//	go test . -run 'TestHistories/Redis$' -timeout 0 -v -args -for 10m -seed 7
//	go test . -run 'TestHistories/Redis$' -timeout 0 -args -for 10m -table README.md
//
// node_test.go is the application, fleet_test.go its processes and browsers_test.go its users.
// configurations_test.go says what the backend is and what fails, with failover_test.go,
// mariadb_test.go, cluster_test.go, disk_test.go and clocks_test.go. retries_test.go says by
// when a node has done again what failed. mistakes_test.go has what the check must find.
package histories
