#pragma once
// The deleter of a C library's object that one function frees: unique_ptr<BIO, FreedBy<BIO_free>>.

namespace gpupool {

template <auto free_it>
struct FreedBy {
  template <class T>
  void operator()(T* object) const {
    free_it(object);
  }
};

}  // namespace gpupool
