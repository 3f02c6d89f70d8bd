// Files that a caller's jobs are to work on, on their way to the ledger.
#include <algorithm>

#include "actors/session/request_shape.h"
#include "actors/session/session.h"

namespace gpupool {

// Whether there is an app for them that the caller may use.
bool Session::takes_files() const {
  return std::any_of(config_->apps.begin(), config_->apps.end(), [this](const AppConfig& app) {
    const auto& tiers = app.tiers;
    return app.executor == ExecutorKind::command && app.command.is_any() &&
           std::find(tiers.begin(), tiers.end(), caller_.tier) != tiers.end();
  });
}

void Session::on(const ClientUpload& upload) {
  if (!may_ask(upload)) return;
  if (const Status shape = check_shape(upload); !shape)
    return answer_error(upload.query, shape.error());
  if (!takes_files())
    return answer_error(upload.query,
                        {.code = Errc::forbidden,
                         .detail = "no app of this pool takes files of tier " + caller_.tier});
  const std::uint64_t number = remember(ClientUpload{.query = upload.query});
  out_.to(to_ledger(), ToLedger{StoreUpload{.session = id_,
                                            .query = number,
                                            .account = caller_.account,
                                            .hash = upload.hash,
                                            .total = upload.total,
                                            .offset = upload.offset,
                                            .bytes = upload.bytes}});
}

void Session::on(const UploadStored& stored) {
  const auto upload = take<ClientUpload>(stored.answer.query);
  if (!upload) return;
  if (stored.error != Errc{})
    return answer_error(
        upload->query,
        {.code = stored.error, .want = stored.want, .have = stored.have, .detail = stored.detail});
  UploadAnswer answer = stored.answer;
  answer.query = upload->query;
  tell_client(std::move(answer));
}

}  // namespace gpupool
