#include "net/client.h"

#include <sodium.h>

#include <array>
#include <utility>

#include "config/limits.h"
#include "net/conversation.h"

namespace gpupool {
namespace {

// SHA-256 of what comes in pieces.
class Hash {
 public:
  Hash() { crypto_hash_sha256_init(&state_); }

  void take(std::string_view bytes) {
    crypto_hash_sha256_update(&state_, reinterpret_cast<const unsigned char*>(bytes.data()),
                              bytes.size());
  }

  std::string text() {
    std::array<unsigned char, crypto_hash_sha256_BYTES> hash{};
    crypto_hash_sha256_final(&state_, hash.data());
    std::array<char, 2 * crypto_hash_sha256_BYTES + 1> text{};
    sodium_bin2hex(text.data(), text.size(), hash.data(), hash.size());
    return text.data();
  }

 private:
  crypto_hash_sha256_state state_{};
};

template <class Answer>
Result<Answer> expect(Result<ToClient> answer) {
  if (!answer) return answer.error();
  if (Answer* found = std::get_if<Answer>(&*answer)) return std::move(*found);
  return Error{.code = Errc::malformed_frame, .detail = "the pool answered another question"};
}

// Gives the question a number of its own, asks it and waits for an answer of type Answer.
template <class Answer, class Message>
Result<Answer> ask(Conversation& conversation, Message message) {
  message.query = conversation.next_query();
  Result<std::string> frame = encode(FromClient{message});
  if (!frame) return frame.error();
  return expect<Answer>(conversation.ask({.query = message.query, .frames = {std::move(*frame)}}));
}

}  // namespace

Result<std::unique_ptr<Client>> Client::connect(ClientOptions options) {
  auto conversation = std::make_unique<Conversation>(std::move(options));
  if (Status begun = conversation->begin(); !begun) return begun.error();
  return std::unique_ptr<Client>{new Client{std::move(conversation)}};
}

Client::Client(std::unique_ptr<Conversation> conversation)
    : conversation_(std::move(conversation)) {}

Client::~Client() { conversation_->say_goodbye(); }

const SessionWelcome& Client::welcome() const { return conversation_->welcome(); }

const std::string& Client::endpoint() const { return conversation_->endpoint(); }

Status Client::submit(const RequestId& request, const JobRequest& body) {
  const std::uint64_t query = conversation_->next_query();
  Result<std::string> frame =
      encode(FromClient{ClientSubmit{.query = query, .request = request, .body = body}});
  if (!frame) return frame.error();
  return conversation_->follow({.query = query, .request = request, .frame = std::move(*frame)});
}

Status Client::watch(JobId job) {
  const std::uint64_t query = conversation_->next_query();
  Result<std::string> frame = encode(FromClient{ClientWatch{.query = query, .job = job}});
  if (!frame) return frame.error();
  return conversation_->follow({.query = query, .job = job, .frame = std::move(*frame)});
}

Result<ClientEvent> Client::next_event(Duration timeout) {
  return conversation_->next_event(timeout);
}

Result<JobDone> Client::cancel(JobId job) {
  Question question{.query = conversation_->next_query(), .job = job};
  std::vector<FromClient> messages{ClientCancel{.query = question.query, .job = job}};
  // The watch makes the pool send the receipt also to a client that did not follow the job.
  if (!conversation_->follows(job))
    messages.insert(messages.begin(),
                    ClientWatch{.query = conversation_->next_query(), .job = job});
  for (const FromClient& message : messages) {
    Result<std::string> frame = encode(message);
    if (!frame) return frame.error();
    question.frames.push_back(std::move(*frame));
  }
  return expect<JobDone>(conversation_->ask(std::move(question)));
}

Result<QuotaAnswer> Client::quota() { return ask<QuotaAnswer>(*conversation_, ClientQuota{}); }

Result<ReceiptsAnswer> Client::receipts(JobId before, std::uint32_t limit) {
  return ask<ReceiptsAnswer>(*conversation_, ClientReceipts{.before = before, .limit = limit});
}

Result<JobsAnswer> Client::jobs() { return ask<JobsAnswer>(*conversation_, ClientJobs{}); }

Result<ExplainAnswer> Client::explain(JobId job) {
  return ask<ExplainAnswer>(*conversation_, ClientExplain{.job = job});
}

Result<ExplainAnswer> Client::explain(const RequestId& refused) {
  return ask<ExplainAnswer>(*conversation_, ClientExplain{.request = refused});
}

Result<ChangesAnswer> Client::changes(Instant since, std::uint32_t limit) {
  return ask<ChangesAnswer>(*conversation_, ClientChanges{.since = since, .limit = limit});
}

Result<UsageAnswer> Client::usage(Instant since, std::uint32_t days) {
  return ask<UsageAnswer>(*conversation_, ClientUsage{.since = since, .limit = days});
}

Result<QuoteAnswer> Client::quote(const JobRequest& body) {
  return ask<QuoteAnswer>(*conversation_, ClientQuote{.body = body});
}

Result<Table> Client::operate(std::vector<std::string> words) {
  Result<OperateAnswer> answer =
      ask<OperateAnswer>(*conversation_, ClientOperate{.words = std::move(words)});
  if (!answer) return answer.error();
  return std::move(answer->table);
}

Status Client::fetch(const Receipt& receipt, const Sink& sink) {
  const ResultRef& wanted = receipt.result;
  if (wanted.hash.empty())
    return Error{.code = Errc::result_gone, .detail = "the job has no result"};
  const Error damaged{.code = Errc::file_malformed,
                      .want = wanted.bytes,
                      .detail = "the result that the pool sent is not the one of the receipt"};
  if (wanted.bytes < 0 || wanted.bytes > limits::result_bytes_max) return damaged;
  Hash hash;
  for (std::int64_t offset = 0; offset < wanted.bytes;) {
    const Result<ResultChunk> chunk =
        ask<ResultChunk>(*conversation_, ClientFetch{.job = receipt.job, .offset = offset});
    if (!chunk) return chunk.error();
    if (chunk->error != Errc{}) return Error{.code = chunk->error};
    const bool fits = chunk->job == receipt.job && chunk->offset == offset &&
                      chunk->total == wanted.bytes && !chunk->bytes.empty() &&
                      std::cmp_less_equal(chunk->bytes.size(), wanted.bytes - offset);
    if (!fits) return damaged;
    hash.take(chunk->bytes);
    if (Status taken = sink(chunk->bytes); !taken) return taken;
    offset += static_cast<std::int64_t>(chunk->bytes.size());
  }
  if (hash.text() != wanted.hash) return damaged;
  return ok();
}

Result<std::string> Client::fetch(const Receipt& receipt) {
  std::string result;
  const Status fetched = fetch(receipt, [&](std::string_view piece) {
    result += piece;
    return ok();
  });
  if (!fetched) return fetched.error();
  return result;
}

Result<std::string> Client::upload(std::string_view archive) {
  Hash hash;
  hash.take(archive);
  const std::string name = hash.text();
  const std::int64_t total = std::ssize(archive);
  // The first question says how far an earlier call came. Each answer says where to go on.
  std::string_view piece;
  for (std::int64_t stored = 0;;) {
    const Result<UploadAnswer> answer = ask<UploadAnswer>(
        *conversation_,
        ClientUpload{.hash = name, .total = total, .offset = stored, .bytes = std::string(piece)});
    if (!answer) return answer.error();
    const bool is_stuck = !piece.empty() && answer->stored <= stored;
    if (answer->stored == total) return name;
    if (is_stuck || answer->stored < 0 || answer->stored > total ||
        answer->stored % limits::upload_piece_bytes != 0)
      return Error{.code = Errc::outcome_unknown, .detail = "the pool does not take the files"};
    stored = answer->stored;
    piece = archive.substr(static_cast<std::size_t>(stored),
                           static_cast<std::size_t>(limits::upload_piece_bytes));
  }
}

Result<LogChunk> Client::logs(JobId job, std::int64_t offset) {
  Result<LogChunk> chunk = ask<LogChunk>(*conversation_, ClientLogs{.job = job, .offset = offset});
  if (chunk && chunk->error != Errc{}) return Error{.code = chunk->error};
  return chunk;
}

Result<std::string> Client::preview(JobId job) {
  Result<LogChunk> chunk = ask<LogChunk>(*conversation_, ClientLogs{.job = job, .preview = true});
  if (!chunk) return chunk.error();
  if (chunk->error != Errc{}) return Error{.code = chunk->error};
  return std::move(chunk->bytes);
}

Result<Shared<Overview>> Client::overview() {
  Result<OverviewAnswer> answer = ask<OverviewAnswer>(*conversation_, ClientOverview{});
  if (!answer) return answer.error();
  return std::move(answer->overview);
}

void Client::interrupt() noexcept { conversation_->interrupt(); }

}  // namespace gpupool
