package org.reactorvfio.samples.nvme;

import org.reactivestreams.Subscription;
import reactor.core.CoreSubscriber;
import reactor.core.publisher.Operators;

/** One subscriber's run of a command. What the queue pair keeps of it is guarded by the pair's monitor. */
final class Request<T> implements Subscription {
  /** How far it has come. */
  enum Progress {
    NEW,
    WAITING,
    SENT,
    DONE
  }

  private final Command<T> command;
  private final QueuePair queue;
  private final CoreSubscriber<? super T> subscriber;
  private volatile boolean cancelled;

  // The queue pair's.
  Progress progress = Progress.NEW;
  long deadline;
  boolean expired;
  int result;
  Throwable failure;

  /** The next one in a list of those that are done. */
  Request<?> next;

  Request(Command<T> command, QueuePair queue, CoreSubscriber<? super T> subscriber) {
    this.command = command;
    this.queue = queue;
    this.subscriber = subscriber;
  }

  Command<T> command() {
    return command;
  }

  @Override
  public void request(long n) {
    if (Operators.validate(n)) {
      queue.enqueue(this);
    }
  }

  /** What has not gone to the controller need not. What has keeps its slot, and the device its buffer, until it is answered. */
  @Override
  public void cancel() {
    cancelled = true;
    queue.forget(this);
  }

  /** Tells the subscriber. Called without any lock. */
  private void finish() {
    if (cancelled) {
      return;
    }
    if (failure != null) {
      subscriber.onError(failure);
      return;
    }
    T value = command.answer(result);
    if (value != null) {
      subscriber.onNext(value);
    }
    subscriber.onComplete();
  }

  /** Tells the subscribers of a list, which may be null. */
  static void finish(Request<?> first) {
    for (Request<?> request = first; request != null; ) {
      Request<?> following = request.next;
      request.next = null;
      request.finish();
      request = following;
    }
  }
}
