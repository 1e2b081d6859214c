package org.reactorvfio.bridge;

import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.loop.EventLoop;
import org.reactorvfio.loop.EventSource;
import org.reactorvfio.loop.LoopTask;
import reactor.core.publisher.Mono;

/** A vector that a client has armed: an eventfd of our own, read on the loop's thread. */
final class ArmedVector extends Served {
  private final EventLoop loop;
  private final EventFd eventFd;
  private final Source source;
  private final LoopTask look = LoopTask.of(this::lookNow);

  /** Changed on the loop's thread, before the descriptor's number is anybody else's. */
  private volatile boolean closed;

  ArmedVector(int id, int index, int vector, Listener listener, EventLoop loop, EventFd eventFd) {
    super(id, index, vector, listener);
    this.loop = loop;
    this.eventFd = eventFd;
    this.source = new Source(eventFd.fd());
  }

  int eventfd() {
    return eventFd.fd();
  }

  /** Lets the loop know the vector, which the device signals by now. */
  void register() throws LinuxException {
    loop.register(source);
  }

  /** Closes the eventfd of a vector that the loop never knew. */
  void discard() {
    eventFd.close();
  }

  /** How many signals the kernel has counted that nobody wanted, without taking them; -1 if it does not tell. Reads a file. */
  long waiting() {
    long count = EventFd.count(eventFd.fd());
    return closed ? -1 : count;
  }

  @Override
  void look() {
    loop.schedule(look);
  }

  private void lookNow() {
    if (!closed && wanted()) {
      loop.arm(source);
    }
  }

  private void take() {
    long count = eventFd.take();
    if (count > 0) {
      arrived(count);
    }
  }

  @Override
  Mono<Void> flush() {
    return onLoop(() -> {
      if (!closed && wanted()) {
        take();
      }
    });
  }

  @Override
  Mono<Void> finish() {
    return onLoop(() -> {
      if (!closed) {
        closed = true;
        loop.deregister(source);
        take();
        eventFd.close();
      }
    });
  }

  private Mono<Void> onLoop(Runnable work) {
    return Mono.create(sink -> {
      Runnable all = () -> {
        work.run();
        sink.success();
      };
      if (!loop.execute(LoopTask.of(all))) {
        all.run();
      }
    });
  }

  private final class Source extends EventSource {
    Source(int fd) {
      super(fd);
    }

    @Override
    protected void onReady() {
      if (wanted()) {
        take();
      }
      if (!wanted()) {
        loop.disarm(this);
      }
    }

    @Override
    protected void onLoopEnd(Throwable cause) {
      ended(cause);
    }
  }
}
