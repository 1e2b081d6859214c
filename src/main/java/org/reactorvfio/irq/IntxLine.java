package org.reactorvfio.irq;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.reactivestreams.Publisher;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.loop.EventLoop;
import org.reactorvfio.loop.LoopTask;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.util.Logger;
import reactor.util.Loggers;

/** INTx: a set of one vector whose next signal comes only when the last one was acknowledged by all its subscribers. */
final class IntxLine extends VectorSet implements Intx {
  private static final Logger LOG = Loggers.getLogger(IntxLine.class);

  /** Set by the user's mask: then an acknowledgement must not unmask. */
  private volatile boolean maskedOnPurpose;

  /**
   * Creates a line.
   *
   * @param exclusive whether it is INTx, which MSI and MSI-X exclude; not so a line of a device that is not PCI
   */
  IntxLine(DeviceInterrupts device, IrqInfo info, boolean exclusive) {
    super(device, info, exclusive);
  }

  @Override
  public Mono<Void> enable() {
    return enable(1);
  }

  @Override
  public Flux<IntxInterrupt> interrupts() {
    return stream(0);
  }

  @Override
  public Flux<Interrupt> handle(Function<? super Interrupt, ? extends Publisher<?>> handler) {
    return handled(stream(0), handler);
  }

  @Override
  public Flux<Interrupt> autoEnabled(Function<? super Interrupt, ? extends Publisher<?>> handler) {
    return handled(autoStream(0), handler);
  }

  private static Flux<Interrupt> handled(
      Flux<IntxInterrupt> line, Function<? super Interrupt, ? extends Publisher<?>> handler) {
    return line.concatMap(
        interrupt -> Mono.defer(() -> Mono.when(handler.apply(interrupt)))
            .doOnTerminate(interrupt::acknowledge)
            .doOnCancel(interrupt::acknowledge)
            .thenReturn(interrupt),
        0);
  }

  @Override
  public Mono<Void> mask() {
    return change(
        0,
        () -> requireArmed(0)
            .then(Mono.fromRunnable(() -> maskedOnPurpose = true))
            .then(Mono.defer(() -> set(IrqSet.of(info().index(), IrqSet.Action.MASK, 0, 1))))
            .doOnError(e -> maskedOnPurpose = false));
  }

  @Override
  public Mono<Void> unmask() {
    return change(
        0,
        () -> requireArmed(0)
            .then(Mono.fromRunnable(() -> maskedOnPurpose = false))
            .then(Mono.defer(this::setUnmasked)));
  }

  private Mono<Void> setUnmasked() {
    return set(IrqSet.of(info().index(), IrqSet.Action.UNMASK, 0, 1));
  }

  @Override
  public Mono<Void> trigger() {
    return trigger(0);
  }

  @Override
  VectorSource newSource(EventLoop loop, int vector, EventFd eventFd) {
    maskedOnPurpose = false;
    return new Source(loop, eventFd);
  }

  /** Gives the line an eventfd that unmasks it, where the driver has that: it saves a system call into VFIO per interrupt. */
  @Override
  Mono<Void> afterEnable(VectorSource source) {
    if (!info().automasked()) {
      return Mono.empty();
    }
    return Mono.defer(() -> {
      GuardedEventFd unmask;
      try {
        unmask = new GuardedEventFd(EventFd.create());
      } catch (LinuxException e) {
        return Mono.error(device.failure("eventfd", e));
      }
      return set(IrqSet.unmaskBy(info().index(), 0, unmask.fd()))
          .doOnSuccess(done -> ((Source) source).unmaskBy(unmask))
          .doOnError(e -> unmask.close())
          .onErrorResume(NotSupportedException.class, e -> Mono.empty());
    });
  }

  /** The line's eventfd on the loop. */
  final class Source extends VectorSource {
    /** How many subscribers have yet to acknowledge the last signal. */
    private final AtomicInteger outstanding = new AtomicInteger();

    private final LoopTask resume = LoopTask.of(this::resume);

    private int ticket;
    private volatile @Nullable GuardedEventFd unmaskBy;
    private volatile boolean lineClosed;

    Source(EventLoop loop, EventFd eventFd) {
      super(loop, info().index(), 0, eventFd, device.demand(), tally());
    }

    @Override
    boolean held() {
      return outstanding.get() > 0;
    }

    /** Not before epoll has said so: the line has just been unmasked, and seldom fires at once. */
    @Override
    protected boolean readAgain() {
      return false;
    }

    /** Its signals are handed out with tickets. */
    @Override
    protected @Nullable EventFd wantsCount() {
      return null;
    }

    @Override
    void onTaken(Cursor[] subscribers) {
      ticket = ticket % Cursor.TICKETS + 1;
      outstanding.set(subscribers.length);
      for (Cursor cursor : subscribers) {
        cursor.expectAcknowledgement(ticket);
      }
    }

    @Override
    Interrupt element(Cursor cursor, long count) {
      return cursor.intx(count);
    }

    /** One subscriber has acknowledged. Any thread. */
    void acknowledged() {
      if (outstanding.decrementAndGet() == 0) {
        if (!maskedOnPurpose) {
          unmaskLine();
        }
        loop.schedule(resume);
      }
    }

    private void unmaskLine() {
      GuardedEventFd eventFd = unmaskBy;
      if (eventFd != null) {
        eventFd.signal();
      } else if (info().automasked() && !lineClosed) {
        // In its turn: by then the line may have been enabled anew, which is not this one's to
        // unmask.
        device
            .queue()
            .enqueue(() ->
                armedSource(0) == this && !maskedOnPurpose ? setUnmasked() : Mono.<Void>empty())
            .subscribe(null, e -> LOG.debug("unmasking a line that is being closed", e));
      }
    }

    void unmaskBy(GuardedEventFd eventFd) {
      unmaskBy = eventFd;
      if (lineClosed) {
        eventFd.close();
      }
    }

    @Override
    void onClose() {
      lineClosed = true;
      GuardedEventFd eventFd = unmaskBy;
      if (eventFd != null) {
        eventFd.close();
      }
    }
  }
}
