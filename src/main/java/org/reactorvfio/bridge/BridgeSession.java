package org.reactorvfio.bridge;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.irq.Interrupts;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.loop.EventLoop;
import org.reactorvfio.operations.IrqSet;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;
import reactor.util.Logger;
import reactor.util.Loggers;

/**
 * What one client uses of one device, over one connection after the other. Interrupts that the owner has enabled are shared: the
 * client is a subscriber more, and its SET_IRQS changes nothing of the device. Others are the client's own, if it may.
 */
final class BridgeSession implements Served.Listener {
  private static final Logger LOG = Loggers.getLogger(BridgeSession.class);
  private static final String SET_IRQS = "VFIO_DEVICE_SET_IRQS";

  /** A number that no descriptor has. */
  private static final int NO_DESCRIPTOR = Integer.MAX_VALUE;

  final Session id;
  private final Export export;
  private final DeviceCalls calls;
  private final EventLoop loop;
  private final BridgeLimits limits;
  private final int noEventfd;

  private final Map<Integer, Served> streams = new ConcurrentHashMap<>();
  private final AtomicInteger inFlight = new AtomicInteger();

  /** The indices that the client has enabled. Used inside the queue's changes. */
  private final BitSet enabled = new BitSet();

  /** Changes of the interrupts, one after the other. */
  private final Sinks.Many<Mono<?>> changes = Sinks.many().unicast().onBackpressureBuffer();

  private volatile @Nullable Outbox outbox;
  private volatile boolean ended;

  BridgeSession(
      Session id,
      Export export,
      Set<Permission> token,
      EventLoop loop,
      BridgeLimits limits,
      int noEventfd) {
    this.id = id;
    this.export = export;
    this.calls = new DeviceCalls(export, token);
    this.loop = loop;
    this.limits = limits;
    this.noEventfd = noEventfd;
    changes
        .asFlux()
        .concatMap(change -> change.onErrorComplete())
        .subscribe(null, e -> LOG.error("the changes of a session failed", e));
  }

  Export export() {
    return export;
  }

  List<Served> streams() {
    return List.copyOf(streams.values());
  }

  // ---- connections

  /** Goes on over another connection: streams that the client does not know of are let go, the totals of the others are told. */
  synchronized void connect(Outbox next, Collection<Integer> known) {
    Outbox former = outbox;
    if (former != null) {
      former.end();
    }
    outbox = next;
    Set<Integer> kept = new HashSet<>(known);
    for (Served stream : List.copyOf(streams.values())) {
      if (!kept.contains(stream.id)) {
        letGo(stream);
      } else if (stream.reconnected()) {
        next.send(stream::element);
      }
    }
  }

  private void letGo(Served stream) {
    enqueue(Mono.defer(() -> {
          boolean own = stream instanceof ArmedVector && streams.get(stream.id) == stream;
          Mono<Integer> disarm = own
              ? calls.operations().setIrqs(IrqSet.assign(stream.index, stream.vector, -1))
              : Mono.empty();
          return disarm.onErrorComplete().then(remove(List.of(stream)));
        }))
        .subscribe(null, e -> LOG.debug("a stream was let go", e));
  }

  /** A connection has gone. Returns whether it was the present one. */
  synchronized boolean disconnect(Outbox gone) {
    if (outbox != gone) {
      return false;
    }
    outbox = null;
    streams.values().forEach(Served::disconnected);
    return true;
  }

  synchronized boolean connected() {
    return outbox != null;
  }

  /** Tells the client that the device has gone, and that nothing more comes. */
  void close(Throwable cause) {
    Outbox present = outbox;
    if (present != null) {
      present.send(new Frame.Closing(Failure.of(cause, "export", export.name())));
      present.end();
    }
  }

  /** Disables what the client has enabled and lets everything go. Ending twice does nothing. */
  Mono<Void> end() {
    return enqueue(Mono.<Void>defer(() -> {
      if (ended) {
        return Mono.empty();
      }
      ended = true;
      return Flux.fromStream(enabled.stream().boxed())
          .filter(index -> !ownersOwn(index))
          .concatMap(index -> calls
              .operations()
              .setIrqs(IrqSet.disable(index))
              .onErrorComplete()
              .then(takeBack(index)))
          .then(Mono.defer(() -> remove(List.copyOf(streams.values()))));
    }));
  }

  @Override
  public void announce(Served stream) {
    Outbox present = outbox;
    if (present != null) {
      export.counters().elements.increment();
      present.send(stream::element);
    }
  }

  @Override
  public void ended(Served stream, @Nullable Throwable cause) {
    if (streams.remove(stream.id, stream)) {
      Outbox present = outbox;
      if (present != null) {
        // What the stream still has to say is in the outbox, before this.
        present.send(new Frame.Ended(
            stream.id, cause == null ? null : Failure.of(cause, "interrupts", export.name())));
      }
    }
  }

  // ---- what the client sends

  void request(int id, long n) {
    Served stream = streams.get(id);
    // A stream that has just ended is still asked for.
    if (stream != null) {
      stream.request(n);
    }
  }

  void call(Frame.Call call, Outbox answers) {
    export.counters().calls.increment();
    String operation = call.type().title();
    if (inFlight.incrementAndGet() > limits.calls()) {
      inFlight.decrementAndGet();
      answers.send(new Frame.Failed(
          call.id(),
          Failure.of(
              new VfioException(
                  operation,
                  export.name(),
                  Errno.EAGAIN,
                  limits.calls() + " operations wait for their answer: no more are taken",
                  "wait for the answers"),
              operation,
              export.name())));
      return;
    }
    Mono.defer(() -> dispatch(call))
        .defaultIfEmpty(Body.EMPTY)
        .doFinally(end -> inFlight.decrementAndGet())
        .subscribe(
            body -> answers.send(new Frame.Result(call.id(), body)), e -> failed(call, e, answers));
  }

  private void failed(Frame.Call call, Throwable e, Outbox answers) {
    export.counters().failures.increment();
    if (e instanceof MalformedFrameException) {
      // It fails alone: the frames around it are whole.
      e = new IllegalArgumentException(String.valueOf(e.getMessage()));
    } else if (!(e instanceof VfioException
        || e instanceof IllegalArgumentException
        || e instanceof IllegalStateException
        || e instanceof IndexOutOfBoundsException)) {
      LOG.error(call.type().title() + " of " + export.name() + " from afar failed", e);
    }
    answers.send(new Frame.Failed(call.id(), Failure.of(e, call.type().title(), export.name())));
  }

  private Mono<Body> dispatch(Frame.Call call) {
    Body arguments = call.body();
    return switch (call.type()) {
      case DEVICE_INFO -> calls.operations().deviceInfo().map(Bodies::deviceInfo);
      case REGION_INFO ->
        calls.operations().regionInfo(Bodies.number(arguments)).map(Bodies::regionInfo);
      case IRQ_INFO -> calls.operations().irqInfo(Bodies.number(arguments)).map(Bodies::irqInfo);
      case SET_IRQS -> {
        IrqRequest request = IrqRequest.read(arguments);
        yield enqueue(Mono.defer(() -> setIrqs(request))).map(Bodies::number);
      }
      case READ -> {
        Bodies.Range range = Bodies.Range.read(arguments, limits.messageBytes() - 64);
        ByteBuffer bytes = ByteBuffer.allocate(range.length());
        yield calls
            .read(range.region(), range.offset(), bytes)
            .map(count -> new Body(Bodies.copy(bytes.flip())));
      }
      case WRITE -> {
        Bodies.Write write = Bodies.Write.read(arguments);
        yield calls.write(write.region(), write.offset(), write.data()).map(Bodies::number);
      }
      case RESET -> calls.reset().then(Mono.empty());
      case HOT_RESET_INFO -> calls.operations().hotResetInfo().map(Bodies::hotResetInfo);
      case HOT_RESET -> calls.hotReset().then(Mono.empty());
      case FEATURE ->
        calls.feature(Bodies.feature(arguments)).map(data -> new Body(Bodies.copy(data)));
    };
  }

  // ---- interrupts

  private <T> Mono<T> enqueue(Mono<T> change) {
    return Mono.create(sink -> {
      Mono<T> told = change.doOnError(sink::error).doOnSuccess(sink::success);
      synchronized (changes) {
        changes.tryEmitNext(told);
      }
    });
  }

  private boolean ownersOwn(int index) {
    Interrupts interrupts = calls.device().interrupts();
    try {
      return interrupts.isEnabled(index);
    } catch (IndexOutOfBoundsException e) {
      return false;
    }
  }

  private Mono<Integer> setIrqs(IrqRequest request) {
    if (ended) {
      return Mono.error(new IllegalStateException("the session has ended"));
    }
    if (request.action() != IrqSet.Action.TRIGGER && request.data() == IrqSet.Data.EVENTFD) {
      return Mono.error(new NotSupportedException(
          SET_IRQS,
          export.name(),
          Errno.ENOTTY,
          "no eventfd reaches from another process to this line's mask",
          "unmask by a request"));
    }
    if (ownersOwn(request.index())) {
      return shared(request);
    }
    if (request.assigns()) {
      return assign(request);
    }
    boolean fires = request.action() == IrqSet.Action.TRIGGER && !request.disables();
    calls.require(fires ? Permission.TRIGGER : Permission.INTERRUPTS, SET_IRQS);
    return asItsUser(request, new int[0]).flatMap(result -> {
      Mono<Void> after = Mono.empty();
      if (request.disables() && enabled.get(request.index())) {
        after = takeBack(request.index())
            .then(remove(streamsOf(stream -> stream.index == request.index())));
      } else if (fires) {
        // Who wants what was fired is told of it before it is told that it was fired.
        after = Flux.fromIterable(streamsOf(stream -> stream.index == request.index()))
            .concatMap(Served::flush)
            .then();
      }
      return after.thenReturn(result);
    });
  }

  private List<Served> streamsOf(Predicate<Served> which) {
    return streams.values().stream().filter(which).toList();
  }

  private Mono<Void> remove(List<Served> gone) {
    return Flux.fromIterable(gone)
        .concatMap(stream -> stream.finish().doFinally(end -> streams.remove(stream.id, stream)))
        .then();
  }

  private List<Served> in(IrqRequest request) {
    return streamsOf(stream -> stream.index == request.index()
        && stream.vector >= request.start()
        && stream.vector < request.start() + request.count());
  }

  private void checkStream(int stream) {
    if (streams.containsKey(stream)) {
      throw new IllegalArgumentException("the number of a stream is in use: " + stream);
    }
  }

  private void checkRoom(int more) {
    if (streams.size() + more > limits.streams()) {
      throw new VfioException(
          SET_IRQS,
          export.name(),
          Errno.EAGAIN,
          "a session has at most " + limits.streams() + " streams",
          "disarm vectors that are not needed");
    }
  }

  /** Arms vectors that are the client's alone. */
  private Mono<Integer> assign(IrqRequest request) {
    calls.require(Permission.INTERRUPTS, SET_IRQS);
    checkRoom(request.count());
    List<Served> former = in(request);
    List<ArmedVector> created = new ArrayList<>();
    int[] eventfds = new int[request.count()];
    try {
      for (int i = 0; i < eventfds.length; i++) {
        switch (request.values().get(i)) {
          case IrqRequest.STREAM -> {
            checkStream(request.streams().get(i));
            ArmedVector vector = new ArmedVector(
                request.streams().get(i),
                request.index(),
                request.start() + i,
                this,
                loop,
                EventFd.create());
            created.add(vector);
            eventfds[i] = vector.eventfd();
          }
          case IrqRequest.NO_DESCRIPTOR -> eventfds[i] = NO_DESCRIPTOR;
          case IrqRequest.NO_EVENTFD -> eventfds[i] = noEventfd;
          default -> eventfds[i] = request.values().get(i);
        }
      }
    } catch (LinuxException e) {
      created.forEach(ArmedVector::discard);
      return Mono.error(failure(e));
    } catch (RuntimeException e) {
      created.forEach(ArmedVector::discard);
      throw e;
    }
    return asItsUser(request, eventfds)
        .doOnError(e -> created.forEach(ArmedVector::discard))
        .flatMap(result -> {
          if (result != 0) {
            created.forEach(ArmedVector::discard);
            return Mono.just(result);
          }
          // The numbers of the former streams may be the new ones' only after these have ended.
          return remove(former).then(Mono.defer(() -> admit(created))).thenReturn(result);
        });
  }

  /** Asks the device, while nobody else uses the index: neither its owner nor another client. */
  private Mono<Integer> asItsUser(IrqRequest request, int[] eventfds) {
    int index = request.index();
    Mono<Integer> asked = Mono.defer(() -> calls.operations().setIrqs(request.toIrqSet(eventfds)));
    if (enabled.get(index)) {
      return asked;
    }
    return calls
        .device()
        .interrupts()
        .lend(index)
        .then(asked.onErrorResume(e -> takeBack(index).then(Mono.error(e))))
        .flatMap(result -> {
          if (result == 0 && request.assigns()) {
            enabled.set(index);
            return Mono.just(result);
          }
          return takeBack(index).thenReturn(result);
        });
  }

  /** The index is its owner's again. */
  private Mono<Void> takeBack(int index) {
    return Mono.defer(() -> {
      enabled.clear(index);
      return calls.device().interrupts().takeBack(index);
    });
  }

  private Mono<Void> admit(List<ArmedVector> created) {
    int admitted = 0;
    try {
      for (ArmedVector vector : created) {
        vector.register();
        streams.put(vector.id, vector);
        admitted++;
      }
    } catch (LinuxException e) {
      List<ArmedVector> rest = created.subList(admitted, created.size());
      rest.forEach(ArmedVector::discard);
      return Mono.error(failure(e));
    }
    return Mono.empty();
  }

  private VfioException failure(LinuxException e) {
    return new VfioException(
        e.call(),
        export.name(),
        e.errno(),
        "the owner's process cannot arm more vectors",
        "disarm some",
        e);
  }

  /** What a client asks of interrupts that the owner has enabled. */
  private Mono<Integer> shared(IrqRequest request) {
    if (request.disables()) {
      return remove(streamsOf(stream -> stream.index == request.index())).thenReturn(0);
    }
    if (request.assigns()) {
      return share(request);
    }
    if (request.action() == IrqSet.Action.TRIGGER) {
      calls.require(Permission.TRIGGER, SET_IRQS);
      return calls.operations().setIrqs(request.toIrqSet(new int[0]));
    }
    if (request.action() == IrqSet.Action.UNMASK) {
      for (Served stream : in(request)) {
        if (stream instanceof SharedVector shared) {
          shared.acknowledge();
        }
      }
      return Mono.just(0);
    }
    throw new PermissionDeniedException(
        SET_IRQS,
        export.name(),
        Errno.EPERM,
        "the owner has enabled this line: it is not masked from afar",
        "have the owner mask it");
  }

  private Mono<Integer> share(IrqRequest request) {
    checkRoom(request.count());
    List<Served> former = in(request);
    List<SharedVector> created = new ArrayList<>();
    for (int i = 0; i < request.count(); i++) {
      Throwable refusal = null;
      switch (request.values().get(i)) {
        case IrqRequest.STREAM -> {
          checkStream(request.streams().get(i));
          SharedVector vector = new SharedVector(
              request.streams().get(i), request.index(), request.start() + i, this);
          created.add(vector);
          refusal =
              vector.subscribe(calls.device().interrupts().armed(vector.index, vector.vector));
        }
        case IrqRequest.NO_DESCRIPTOR -> refusal = noEventfd(Errno.EBADF);
        case IrqRequest.NO_EVENTFD -> refusal = noEventfd(Errno.EINVAL);
        default -> {
          // None: the client takes no part in this vector.
        }
      }
      if (refusal != null) {
        Throwable cause = refusal;
        return Flux.fromIterable(created).concatMap(Served::finish).then(Mono.error(cause));
      }
    }
    return remove(former)
        .then(Mono.fromRunnable(() -> created.forEach(vector -> streams.put(vector.id, vector))))
        .thenReturn(0);
  }

  private VfioException noEventfd(int errno) {
    return new VfioException(
        SET_IRQS, export.name(), errno, "the descriptor is no eventfd", "give one");
  }
}
