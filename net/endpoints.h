#pragma once
// Where a client looks for its pool: one endpoint for each broker of it, of which the one that
// leads listens. They are tried in turn, round by round, and each has said last why it was not the
// one. Used by one thread.

#include <cstddef>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace gpupool {

class Endpoints {
 public:
  // Why an attempt came to nothing, as far as that tells people what to do.
  enum class Failure : std::uint8_t {
    silent = 1,      // refused, closed, or nobody said anything
    cut_short,       // the caller's time was over first: the attempt before this one says more
    other_language,  // one side encrypts and the other does not
    no_handshake     // closed before it was over, as for a wrong server key
  };

  // "tcp://a:7400,tcp://b:7400", tried in this order. not_connected: one of them is none.
  static Result<Endpoints> read(const std::string& text);

  const std::string& present() const { return all_[present_].name; }
  std::size_t size() const { return all_.size(); }
  // The attempt at the present one failed: the next one is the present one.
  void pass_over(Failure why);
  // A pool answered at the present one.
  void found();

  // Of one attempt, from its start to the welcome. Where there are others, nobody waits long for
  // one that says nothing; after the first round longer, so that a slow one has its time too.
  Duration patience() const;
  // Until the next attempt at most; the least is half of it. Grows from round to round.
  Duration pause() const;

  // What was tried, with why, and what to do about it. `has_key`: the client would encrypt.
  std::string nobody_answers(bool has_key) const;
  static std::string other_language(const std::string& endpoint, bool has_key);

 private:
  struct Endpoint {
    std::string name;
    Failure failure = Failure::silent;  // of the last attempt
  };

  std::vector<Endpoint> all_;
  std::size_t present_ = 0;
  std::size_t failed_ = 0;  // attempts since a pool was found
};

}  // namespace gpupool
