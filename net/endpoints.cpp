#include "net/endpoints.h"

#include <algorithm>

#include "config/limits.h"

namespace gpupool {
namespace {

constexpr Duration patience_of_one = seconds(3);
// Where there are other endpoints: in the first round, and later.
constexpr Duration patience_first = seconds(1);
constexpr Duration patience_max = seconds(2);
constexpr Duration pause_min = milliseconds(100);
// A takeover takes about five seconds: nobody should sleep through much of what follows it.
constexpr Duration pause_max = seconds(2);
constexpr std::size_t doublings_max = 5;  // of the pause: the next one is above its maximum

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(' ');
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

// What ZeroMQ could be asked to connect to, as far as it can be told without asking.
bool is_endpoint(const std::string& text) {
  const std::size_t scheme = text.find("://");
  if (scheme == std::string::npos || scheme + 3 == text.size()) return false;
  if (!text.starts_with("tcp://")) return true;
  const std::size_t colon = text.rfind(':');
  const std::string port = text.substr(colon + 1);
  return colon > scheme + 3 && !port.empty() && port.size() <= 5 &&
         port.find_first_not_of("0123456789") == std::string::npos;
}

std::string closes_connections(const std::string& endpoint, bool has_key) {
  return has_key ? "what listens at " + endpoint +
                       " is not the pool of this --server-key, or does not encrypt; ask its "
                       "operator for the present one"
                 : "what listens at " + endpoint +
                       " closes every connection; if the pool takes encrypted ones only, name its "
                       "public key with --server-key";
}

}  // namespace

Result<Endpoints> Endpoints::read(const std::string& text) {
  Endpoints found;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find(',', start), text.size());
    const std::string name = trimmed(text.substr(start, end - start));
    if (!is_endpoint(name))
      return Error{.code = Errc::not_connected,
                   .detail = "cannot connect to \"" + name +
                             "\": an endpoint is such as tcp://127.0.0.1:7400 or "
                             "ipc:///run/gpupool/pool.sock; several have commas between them"};
    found.all_.push_back({name});
    start = end + 1;
  }
  if (std::ssize(found.all_) > limits::brokers_max)
    return Error{.code = Errc::not_connected,
                 .want = std::ssize(found.all_),
                 .have = limits::brokers_max,
                 .detail = std::to_string(found.all_.size()) + " endpoints were named, and " +
                           std::to_string(limits::brokers_max) + " are the most"};
  return found;
}

void Endpoints::pass_over(Failure why) {
  if (why != Failure::cut_short) all_[present_].failure = why;
  present_ = (present_ + 1) % all_.size();
  ++failed_;
}

void Endpoints::found() {
  failed_ = 0;
  for (Endpoint& one : all_) one.failure = Failure::silent;
}

Duration Endpoints::patience() const {
  if (all_.size() == 1) return patience_of_one;
  return failed_ < all_.size() ? patience_first : patience_max;
}

// Within a round the others are tried soon: they have not been asked yet.
Duration Endpoints::pause() const {
  if (failed_ == 0 || failed_ % all_.size() != 0) return pause_min;
  const std::size_t rounds = std::min(failed_ / all_.size() - 1, doublings_max);
  return std::min(pause_max, pause_min * (std::int64_t{1} << rounds));
}

std::string Endpoints::other_language(const std::string& endpoint, bool has_key) {
  return has_key ? "the pool at " + endpoint +
                       " does not encrypt; leave --server-key out, or name the endpoint of the "
                       "pool that has this key"
                 : "the pool at " + endpoint +
                       " takes encrypted connections only; name its public key with --server-key";
}

std::string Endpoints::nobody_answers(bool has_key) const {
  std::string names;
  std::string reasons;
  for (std::size_t i = 0; i < all_.size(); ++i) {
    const auto& [name, failure] = all_[i];
    names += (i == 0 ? "" : i + 1 == all_.size() ? " or " : ", ") + name;
    if (failure == Failure::silent) continue;
    reasons += (reasons.empty() ? "" : "; ") + (failure == Failure::other_language
                                                    ? other_language(name, has_key)
                                                    : closes_connections(name, has_key));
  }
  if (reasons.empty()) return "no pool answers at " + names;
  return all_.size() == 1 ? reasons : "no pool answers at " + names + ": " + reasons;
}

}  // namespace gpupool
