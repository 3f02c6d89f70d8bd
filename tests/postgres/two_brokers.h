#pragma once
// Two brokers on one database and one node, each a process of its own: the first leads, the second
// stands by, the worker and every client know both. Ports are free ones of this machine, chosen
// before anybody listens there, since a standby does not listen yet.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "actors/ledger/journal_postgres.h"
#include "actors/ledger/ledger.h"
#include "actors/worker/process.h"
#include "tests/postgres/cluster.h"
#include "tests/system/jobs.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {

// Different ones, none in use now.
inline std::vector<std::string> free_ports(std::size_t count) {
  std::vector<FileDescriptor> held;
  std::vector<std::string> ports;
  for (std::size_t i = 0; i < count; ++i) {
    held.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(::bind(held.back().get(), generic, size) == 0);
    REQUIRE(::getsockname(held.back().get(), generic, &size) == 0);
    ports.push_back(std::to_string(ntohs(address.sin_port)));
  }
  return ports;
}

class TwoBrokers {
 public:
  static constexpr Duration patience = seconds(60);

  explicit TwoBrokers(const PostgresPlace& place, const std::string& worker_settings = one_slot)
      : ports_(free_ports(4)),
        first(options(place, 0, worker_settings)),
        second(options(place, 1, worker_settings)) {
    first.start();
    second.start_broker();
    REQUIRE(wait_until(patience, [this] { return second.state() == "standby"; }));
  }

  std::string endpoint(std::size_t which) const { return "tcp://127.0.0.1:" + ports_[which]; }
  std::string endpoints() const { return endpoint(0) + "," + endpoint(1); }

  // A client that knows both and rides out what happens to them.
  std::unique_ptr<Client> client(const std::string& user) const {
    auto connected = patient_client(first, user, 1);
    REQUIRE(connected);
    return std::move(*connected);
  }

 private:
  PoolOptions options(const PostgresPlace& place, std::size_t which,
                      const std::string& worker_settings) const {
    return {.two_processes = true,
            .worker_settings = worker_settings,
            .ledger_settings = "journal = \"postgres\"\npostgres = \"" + place.conninfo +
                               "\"\npostgres_schema = \"" + place.schema + "\"\n",
            .client_endpoint = endpoint(which),
            .worker_address = worker_address(which),
            .broker_addresses = worker_address(0) + "," + worker_address(1),
            .client_dials = endpoints()};
  }
  std::string worker_address(std::size_t which) const { return "127.0.0.1:" + ports_[2 + which]; }

  const std::vector<std::string> ports_;

 public:
  PoolProcess first;
  PoolProcess second;
};

// How long since then, for people and for the bounds of tests.
inline Duration since(Instant then) { return boot_time() - then; }
inline void print_time(const std::string& what, Duration time) {
  std::printf("failover: %s after %lld ms\n", what.c_str(), static_cast<long long>(time.ms));
  std::fflush(stdout);
}

// The books as they stand in the database: whether every hold was settled once, and adds up.
inline void check_books(PostgresPlace place, std::size_t jobs) {
  place.pool = "";
  auto journal = JournalPostgres::open_to_read(place);
  REQUIRE(journal);
  const Config config = default_config();
  Ledger ledger(config);
  std::size_t settled = 0;
  REQUIRE((*journal)->replay([&](const Record& record) {
    ledger.apply(record);
    settled += std::holds_alternative<HoldSettled>(record.body) ? 1 : 0;
    return ok();
  }));
  CHECK(settled == jobs);
  CHECK(ledger.open_holds().empty());
  CHECK(ledger.check_invariants().empty());
}

}  // namespace gpupool::test
