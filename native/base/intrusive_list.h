// A circular doubly linked list whose links live in its members: no allocation, O(1) removal, and a member knows
// whether it is in one. A type that is in several lists at once derives from several ListNode<Tag>s.
//
//   struct ByDeadline;
//   class Timer : public ListNode<ByDeadline> {};
//   IntrusiveList<Timer, ByDeadline> timers;
#pragma once

#include <utility>

#include "base/check.h"

namespace ringway {

template <typename Tag = void>
class ListNode {
 public:
  ListNode() = default;
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;
  // A member that goes while it is linked takes itself out.
  ~ListNode() { Unlink(); }

  bool IsLinked() const { return next_ != this; }
  void Unlink() {
    previous_->next_ = next_;
    next_->previous_ = previous_;
    previous_ = next_ = this;
  }

 private:
  template <typename, typename>
  friend class IntrusiveList;

  void InsertBefore(ListNode& position) {
    RINGWAY_CHECK(!IsLinked());
    previous_ = position.previous_;
    next_ = &position;
    previous_->next_ = this;
    position.previous_ = this;
  }

  ListNode* previous_ = this;
  ListNode* next_ = this;
};

template <typename T, typename Tag = void>
class IntrusiveList {
 public:
  using Node = ListNode<Tag>;

  IntrusiveList() = default;
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  // Members outlive their list unlinked.
  ~IntrusiveList() { Clear(); }

  bool IsEmpty() const { return !head_.IsLinked(); }
  T* Front() { return IsEmpty() ? nullptr : Member(head_.next_); }
  T* Back() { return IsEmpty() ? nullptr : Member(head_.previous_); }
  void PushBack(T& member) { static_cast<Node&>(member).InsertBefore(head_); }
  void PushFront(T& member) { static_cast<Node&>(member).InsertBefore(*head_.next_); }
  static void Remove(T& member) { static_cast<Node&>(member).Unlink(); }
  T* PopFront() {
    T* front = Front();
    if (front != nullptr) Remove(*front);
    return front;
  }
  void Clear() {
    while (PopFront() != nullptr) {
    }
  }
  // Takes all members of `other`, in order, behind those that are here.
  void Splice(IntrusiveList& other) {
    if (other.IsEmpty()) return;
    Node* first = other.head_.next_;
    Node* last = other.head_.previous_;
    other.head_.next_ = other.head_.previous_ = &other.head_;
    first->previous_ = head_.previous_;
    head_.previous_->next_ = first;
    last->next_ = &head_;
    head_.previous_ = last;
  }
  // Calls visit(member) for each; visit may unlink the member it is given, and no other.
  template <typename Visit>
  void ForEach(Visit&& visit) {
    for (Node* node = head_.next_; node != &head_;) {
      Node* next = node->next_;
      visit(*Member(node));
      node = next;
    }
  }

 private:
  static T* Member(Node* node) { return static_cast<T*>(node); }

  Node head_;
};

}  // namespace ringway
