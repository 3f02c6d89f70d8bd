#pragma once
// Those who use the cluster while it is hurt: accounts that each keep some jobs going through the
// SDK, which goes to the other broker when one does not answer and asks again by request id, and
// write down everything that they asked and were told. Jobs of one slot, of two, and of two
// wherever they are; that succeed, fail, run into their declared end, or are cancelled. Each has a
// thread of its own.

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/prng.h"
#include "tests/cluster/checker.h"
#include "tests/cluster/hosts.h"

namespace gpupool::test {

class Customer {
 public:
  Customer(const Hosts& hosts, const std::string& user, std::uint64_t seed);
  ~Customer();
  Customer(const Customer&) = delete;
  Customer& operator=(const Customer&) = delete;

  // Asks for nothing new from now on, and ends when what it asked for has its end, or give_up().
  void stop_asking() { stop_ = true; }
  bool is_done() const { return done_; }
  void give_up() { given_up_ = true; }
  // Ends it; what follows is only for then.
  void join();
  std::vector<Asked> asked() const;
  AccountId account() const { return account_; }
  const std::string& trouble() const { return trouble_; }
  // What happened to its connection, line by line.
  const std::string& diary() const { return diary_; }

 private:
  struct Request {
    Asked seen;
    JobRequest body;
    bool in_doubt = false;  // sent to a pool that went away before it answered
    bool cancels = false;
    Instant ask_at{};  // not before; never(): it is asked
  };

  void run();
  void live_through_a_connection();
  bool connect();
  void ask_what_is_due();
  void ask_for_more();
  Request draw();
  void hear(const JobEvent& moved);
  void hear(const JobDone& done);
  void hear(const SessionRefused& refused);
  void hear(const FollowFailed& failed);
  void hear(const LinkLost& lost);
  void hear(const LinkRestored&);
  void note(const std::string& what);
  void cancel(const JobEvent& moved);
  std::size_t open_count() const;
  Request* find(const RequestId& request);

  const ClientOptions options_;
  const AccountId account_;
  Prng rng_;
  const Instant born_;
  std::string diary_;
  std::unique_ptr<Client> client_;
  std::map<RequestId, Request> requests_;
  std::vector<JobEvent> to_cancel_;
  Instant ask_more_at_{};
  std::string trouble_;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> given_up_ = false;
  std::atomic<bool> done_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace gpupool::test
