package org.reactorvfio.bridge;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.OutcomeUnknownException;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.SessionLostException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.loop.SerialCalls;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.HotResetInfo;
import org.reactorvfio.operations.IrqDemand;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.Disposable;
import reactor.core.Disposables;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.MonoSink;
import reactor.core.publisher.Sinks;
import reactor.netty.http.client.WebsocketClientSpec;
import reactor.util.Logger;
import reactor.util.Loggers;

/**
 * The operations of a device of another process, over a connection that is made anew when it breaks. What was not sent waits for the
 * next connection; what was sent and not answered fails, unless asking again changes nothing.
 */
final class RemoteOperations implements VfioOperations, IrqDemand {
  private static final Logger LOG = Loggers.getLogger(RemoteOperations.class);
  private static final String SET_IRQS = "VFIO_DEVICE_SET_IRQS";
  private static final Duration PING = Duration.ofSeconds(10);
  private static final Duration FIRST_PAUSE = Duration.ofMillis(50);
  private static final Duration LONGEST_PAUSE = Duration.ofSeconds(2);

  /** The longest frame that a server may send: an operation's result, with what is around it. */
  private static final int LONGEST_FRAME = 1 << 20;

  /** What a read or write has besides its data. */
  private static final int OVERHEAD = 64;

  private final RemoteClient remote;
  private final String exportName;
  private final SerialCalls descriptors = new SerialCalls();
  private final Sinks.Empty<Void> opened = Sinks.empty();
  private final Sinks.Empty<Void> loss = Sinks.empty();
  private final Sinks.Empty<Void> disconnected = Sinks.empty();
  private final Disposable.Swap connection = Disposables.swap();

  /** The vectors that somebody has demand for, by {@link #key}. */
  private final Set<Long> wanted = ConcurrentHashMap.newKeySet();

  private volatile boolean tellsDemand;

  // All that follows is guarded by this object's monitor.
  private final Map<Integer, PendingCall> calls = new LinkedHashMap<>();
  private final Map<Integer, RemoteVector> streams = new HashMap<>();
  private final Map<Long, RemoteVector> vectors = new HashMap<>();
  private int numbers;
  private int inFlight;
  private @Nullable Outbox outbox;
  private boolean welcomed;
  private boolean closed;
  private @Nullable VfioException lost;
  private Frame.Welcome server = new Frame.Welcome(Session.NONE, false, "", true, 0, 1024, 1);
  private long brokenSince;
  private Duration pause = FIRST_PAUSE;
  private long heard = System.nanoTime();

  private RemoteOperations(RemoteClient remote, String exportName) {
    this.remote = remote;
    this.exportName = exportName;
  }

  /** An operation that waits to be sent, or for its answer. */
  private static final class PendingCall {
    final Frame.Call call;
    final MonoSink<Body> sink;
    final boolean repeatable;
    boolean sent;

    PendingCall(Frame.Call call, MonoSink<Body> sink, boolean repeatable) {
      this.call = call;
      this.sink = sink;
      this.repeatable = repeatable;
    }
  }

  static Mono<VfioOperations> open(RemoteClient remote, String name) {
    return Mono.defer(() -> {
      RemoteOperations operations = new RemoteOperations(remote, name);
      operations.connect();
      return operations
          .opened
          .asMono()
          .timeout(remote.timeout())
          .onErrorMap(TimeoutException.class, e -> remote.failure(e, name))
          .doOnError(e -> operations.abandon())
          .doOnCancel(operations::abandon)
          .thenReturn(operations);
    });
  }

  // ---- the connection

  private void connect() {
    Outbox box = new Outbox();
    Disposable running = Mono.defer(() -> Mono.from(remote
            .client()
            .websocket(WebsocketClientSpec.builder()
                .maxFramePayloadLength(LONGEST_FRAME)
                .build())
            .uri(RemoteClient.path(exportName))
            .handle((in, out) -> {
              box.send(hello());
              Mono<Void> received = in.aggregateFrames(LONGEST_FRAME)
                  .receive()
                  .asByteArray()
                  .doOnNext(bytes -> receive(box, bytes))
                  .takeUntilOther(pings(box))
                  .then()
                  .doOnSuccess(end -> box.end());
              Mono<Void> sent = out.sendObject(box.frames(), any -> true).then();
              return Mono.firstWithSignal(sent, received.then(Mono.never()));
            })
            .then()))
        .subscribe(null, e -> broken(box, remote.failure(e, exportName)), () -> broken(box, null));
    connection.update(running);
  }

  /** Says that we are there, and ends when the server has not said so for too long. */
  private Flux<Long> pings(Outbox box) {
    return Flux.interval(PING)
        .doOnNext(tick -> box.send(new Frame.Ping()))
        .filter(tick -> silence().compareTo(PING.multipliedBy(3)) > 0);
  }

  private synchronized Duration silence() {
    return Duration.ofNanos(System.nanoTime() - heard);
  }

  private synchronized Frame hello() {
    return new Frame.Hello(Frame.VERSION, server.session(), new ArrayList<>(streams.keySet()));
  }

  /** A fault of either side ends the session: it must not look like a broken connection, which is mended by another. */
  private void receive(Outbox box, byte[] bytes) {
    try {
      received(box, bytes);
    } catch (MalformedFrameException e) {
      lose(remote + " sends what is no frame", e);
      box.end();
    } catch (RuntimeException | Error e) {
      LOG.error("a frame of " + this + " could not be handled", e);
      lose("a frame could not be handled", e);
      box.end();
    }
  }

  private void received(Outbox box, byte[] bytes) {
    Frame frame = FrameCodec.fromServer(ByteBuffer.wrap(bytes));
    synchronized (this) {
      heard = System.nanoTime();
    }
    if (frame instanceof Frame.Signals signals) {
      signals(signals);
    } else if (frame instanceof Frame.Result result) {
      PendingCall call = answered(result.id());
      if (call != null) {
        call.sink.success(result.body());
      }
    } else if (frame instanceof Frame.Failed failed) {
      PendingCall call = answered(failed.id());
      if (call != null) {
        call.sink.error(failed.failure().toException());
      }
    } else if (frame instanceof Frame.Welcome welcome) {
      welcome(box, welcome);
    } else if (frame instanceof Frame.Closing closing) {
      lose("the owner has ended the export", closing.failure().toException());
    } else if (frame instanceof Frame.Ended ended) {
      ended(ended);
    }
  }

  private void welcome(Outbox box, Frame.Welcome welcome) {
    boolean forgotten;
    synchronized (this) {
      forgotten = !welcome.resumed() && !vectors.isEmpty();
      if (!forgotten) {
        server = welcome;
        outbox = box;
        welcomed = true;
        brokenSince = 0;
        pause = FIRST_PAUSE;
        inFlight = 0;
        for (RemoteVector vector : streams.values()) {
          vector.forget();
          ask(vector);
        }
        sendWaiting();
      }
    }
    if (forgotten) {
      lose("the server no longer knows the session", null);
    } else {
      opened.tryEmitEmpty();
    }
  }

  /** The connection has gone: it is made anew, for as long as the server keeps the session. */
  private void broken(Outbox box, @Nullable VfioException why) {
    box.end();
    List<PendingCall> failed = new ArrayList<>();
    Duration wait;
    boolean again;
    synchronized (this) {
      if (outbox == box) {
        outbox = null;
      }
      for (PendingCall call : List.copyOf(calls.values())) {
        if (call.sent && !call.repeatable) {
          calls.remove(call.call.id());
          failed.add(call);
        }
        call.sent = false;
      }
      long now = System.nanoTime();
      if (brokenSince == 0) {
        brokenSince = now;
      }
      boolean inTime = now - brokenSince < server.graceMillis() * 1_000_000L;
      boolean hopeless =
          why instanceof PermissionDeniedException || why instanceof DeviceNotFoundException;
      again = welcomed && !closed && lost == null && inTime && !hopeless;
      wait = pause;
      pause = pause.multipliedBy(2).compareTo(LONGEST_PAUSE) > 0
          ? LONGEST_PAUSE
          : pause.multipliedBy(2);
    }
    failed.forEach(call -> call.sink.error(unknown(call.call.type().title(), why)));
    if (again) {
      LOG.info("the connection to {} broke; trying again in {}", this, wait);
      connection.update(
          Mono.delay(wait).subscribe(tick -> connect(), e -> LOG.error("no timer", e)));
      return;
    }
    disconnected.tryEmitEmpty();
    if (opened.tryEmitError(why == null ? noAnswer() : why) != Sinks.EmitResult.OK) {
      lose("the server was out of reach for too long", why);
    }
  }

  private VfioException noAnswer() {
    return new VfioException(
        "connect",
        exportName,
        Errno.EIO,
        remote + " closed the connection before it answered",
        "see its log for why");
  }

  private OutcomeUnknownException unknown(String operation, @Nullable Throwable cause) {
    return new OutcomeUnknownException(
        operation,
        exportName,
        "the connection to " + remote + " broke before the answer came: it may have happened",
        "look at the device before doing it again",
        cause);
  }

  /** Nothing of this can be used any more. */
  private void lose(String problem, @Nullable Throwable cause) {
    SessionLostException failure;
    List<PendingCall> failed;
    synchronized (this) {
      if (lost != null || closed) {
        return;
      }
      List<SessionLostException.Total> totals = vectors.values().stream()
          .map(v -> new SessionLostException.Total(v.index, v.vector, v.received()))
          .toList();
      String known = totals.isEmpty() ? "" : "; known are " + totals;
      failure = new SessionLostException(
          "session",
          exportName,
          problem + (cause == null ? "" : " (" + cause.getMessage() + ")") + known,
          "open the device anew; what its vectors signalled after these totals is unknown",
          totals,
          cause);
      lost = failure;
      failed = new ArrayList<>(calls.values());
      calls.clear();
      release();
      if (outbox != null) {
        outbox.end();
      }
    }
    for (PendingCall call : failed) {
      call.sink.error(failure);
    }
    loss.tryEmitError(failure);
    opened.tryEmitError(failure);
  }

  private void release() {
    streams.values().forEach(RemoteVector::close);
    streams.clear();
    vectors.clear();
  }

  /** Lets go of an opening that nobody waits for. */
  private void abandon() {
    synchronized (this) {
      closed = true;
      release();
    }
    connection.dispose();
  }

  // ---- operations

  private Mono<Body> call(CallType type, Body arguments) {
    return call(type, arguments, type.repeatable());
  }

  private Mono<Body> call(CallType type, Body arguments, boolean repeatable) {
    return Mono.<Body>create(sink -> start(type, arguments, repeatable, sink))
        .timeout(remote.timeout())
        .onErrorMap(TimeoutException.class, e -> late(type, e));
  }

  private VfioException late(CallType type, Throwable cause) {
    return new OutcomeUnknownException(
        type.title(),
        exportName,
        "no answer of " + remote + " in " + remote.timeout() + ": it may have happened",
        "look at the device before doing it again",
        cause);
  }

  private void start(CallType type, Body arguments, boolean repeatable, MonoSink<Body> sink) {
    VfioException refusal;
    synchronized (this) {
      refusal = refusal(type.title());
      if (refusal == null) {
        int id = nextNumber();
        calls.put(id, new PendingCall(new Frame.Call(id, type, arguments), sink, repeatable));
        sink.onCancel(() -> cancelled(id));
        sendWaiting();
      }
    }
    if (refusal != null) {
      sink.error(refusal);
    }
  }

  private synchronized @Nullable VfioException refusal(String operation) {
    if (closed) {
      return new DeviceClosedException(
          operation, exportName, 0, "the device is closed", "open it again");
    }
    return lost;
  }

  /** What was not sent never will be; what was sent happens, and its answer is dropped. */
  private synchronized void cancelled(int id) {
    PendingCall call = calls.get(id);
    if (call != null && !call.sent) {
      calls.remove(id);
    }
  }

  private void sendWaiting() {
    Outbox present = outbox;
    if (present == null) {
      return;
    }
    for (PendingCall call : calls.values()) {
      if (inFlight >= server.calls()) {
        return;
      }
      if (!call.sent) {
        call.sent = true;
        inFlight++;
        present.send(call.call);
      }
    }
  }

  private synchronized @Nullable PendingCall answered(int id) {
    PendingCall call = calls.remove(id);
    if (call != null) {
      inFlight--;
      sendWaiting();
    }
    return call;
  }

  @Override
  public String name() {
    return exportName;
  }

  @Override
  public synchronized boolean isolated() {
    return server.isolated();
  }

  @Override
  public boolean borrowed() {
    return true;
  }

  @Override
  public Flux<Void> loss() {
    return loss.asMono().flux();
  }

  @Override
  public Mono<DeviceInfo> deviceInfo() {
    return call(CallType.DEVICE_INFO, Body.EMPTY).map(Bodies::deviceInfo);
  }

  @Override
  public Mono<RegionInfo> regionInfo(int index) {
    return call(CallType.REGION_INFO, Bodies.number(index)).map(Bodies::regionInfo);
  }

  @Override
  public Mono<IrqInfo> irqInfo(int index) {
    return call(CallType.IRQ_INFO, Bodies.number(index)).map(Bodies::irqInfo);
  }

  private synchronized int longest() {
    return Math.max(8, (server.messageBytes() - OVERHEAD) & ~7);
  }

  @Override
  public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
    return Mono.defer(() -> pieces(destination, 0, done -> {
      int length = Math.min(destination.remaining(), longest());
      return call(CallType.READ, new Bodies.Range(region, offset + done, length).toBody())
          .map(body -> {
            if (body.length() > length) {
              throw new MalformedFrameException("more was read than asked for");
            }
            destination.put(body.bytes());
            return new Piece(length, body.length());
          });
    }));
  }

  @Override
  public Mono<Integer> write(int region, long offset, ByteBuffer source) {
    return Mono.defer(() -> pieces(source, 0, done -> {
      int length = Math.min(source.remaining(), longest());
      ByteBuffer piece = source.slice(source.position(), length);
      return call(CallType.WRITE, new Bodies.Write(region, offset + done, piece).toBody())
          .map(Bodies::number)
          .map(count -> {
            if (count < 0 || count > length) {
              throw new MalformedFrameException("more was written than asked for");
            }
            source.position(source.position() + count);
            return new Piece(length, count);
          });
    }));
  }

  /** How much of something was asked for, and done. */
  private record Piece(int asked, int done) {}

  /** Does something piece by piece, until one is not done whole. */
  private static Mono<Integer> pieces(
      ByteBuffer buffer, int done, Function<Integer, Mono<Piece>> next) {
    return next.apply(done).flatMap(piece -> {
      int sum = done + piece.done();
      return piece.done() < piece.asked() || !buffer.hasRemaining()
          ? Mono.just(sum)
          : pieces(buffer, sum, next);
    });
  }

  @Override
  public Mono<Void> reset() {
    return call(CallType.RESET, Body.EMPTY).then();
  }

  @Override
  public Mono<HotResetInfo> hotResetInfo() {
    return call(CallType.HOT_RESET_INFO, Body.EMPTY).map(Bodies::hotResetInfo);
  }

  @Override
  public Mono<Void> hotReset() {
    return call(CallType.HOT_RESET, Body.EMPTY).then();
  }

  @Override
  public Mono<ByteBuffer> feature(FeatureRequest request) {
    return call(CallType.FEATURE, Bodies.feature(request))
        .map(body -> ByteBuffer.wrap(body.bytes()).order(java.nio.ByteOrder.LITTLE_ENDIAN));
  }

  private VfioException noMemory(String operation) {
    VfioException ended = refusal(operation);
    return ended != null
        ? ended
        : new NotSupportedException(
            operation,
            exportName,
            0,
            "the device is another process's, with which no memory is shared",
            "do it there");
  }

  @Override
  public Mono<MappedRegion> map(int region, long offset, long size) {
    return Mono.error(() -> noMemory("mmap"));
  }

  @Override
  public Mono<DmaInfo> dmaInfo() {
    return Mono.error(() -> noMemory("DMA info"));
  }

  @Override
  public Mono<Void> mapDma(DmaMapping mapping) {
    return Mono.error(() -> noMemory("DMA map"));
  }

  @Override
  public Mono<Long> unmapDma(long iova, long size) {
    return Mono.error(() -> noMemory("DMA unmap"));
  }

  // ---- interrupts

  private static long key(int index, int vector) {
    return (long) index << 32 | vector;
  }

  @Override
  public Optional<IrqDemand> irqDemand() {
    tellsDemand = true;
    return Optional.of(this);
  }

  @Override
  public void demand(int index, int vector, boolean isWanted) {
    if (!isWanted) {
      wanted.remove(key(index, vector));
      return;
    }
    wanted.add(key(index, vector));
    synchronized (this) {
      RemoteVector present = vectors.get(key(index, vector));
      if (present != null) {
        ask(present);
      }
    }
  }

  /** Asks for a vector's next signals, if somebody waits for them and they were not asked for. */
  private void ask(RemoteVector vector) {
    Outbox present = outbox;
    if (present != null) {
      if (!tellsDemand) {
        // Who never says what is wanted wants everything.
        present.send(new Frame.Request(vector.stream, Long.MAX_VALUE));
      } else if (wanted.contains(key(vector.index, vector.vector)) && vector.ask()) {
        present.send(new Frame.Request(vector.stream, 1));
      }
    }
  }

  private void signals(Frame.Signals signals) {
    RemoteVector vector;
    synchronized (this) {
      vector = streams.get(signals.stream());
    }
    if (vector != null) {
      vector.told(signals.total());
    }
  }

  private void ended(Frame.Ended ended) {
    RemoteVector vector;
    synchronized (this) {
      vector = streams.get(ended.stream());
    }
    if (vector != null) {
      Failure failure = ended.failure();
      lose(
          "the owner has disarmed vector " + vector.vector + " of interrupt index " + vector.index,
          failure == null ? null : failure.toException());
    }
  }

  @Override
  public Mono<Integer> setIrqs(IrqSet request) {
    boolean byEventfd = request.data() == IrqSet.Data.EVENTFD;
    if (byEventfd && request.action() == IrqSet.Action.TRIGGER) {
      return descriptors.run(() -> assignment(request)).flatMap(this::assign);
    }
    if (byEventfd) {
      return Mono.error(() -> new NotSupportedException(
          SET_IRQS,
          exportName,
          Errno.ENOTTY,
          "no eventfd reaches to the mask of a line in another process",
          "unmask by a request"));
    }
    List<Integer> flags = new ArrayList<>();
    for (int i = 0; request.data() == IrqSet.Data.BOOL && i < request.count(); i++) {
      flags.add(request.flag(i) ? 1 : 0);
    }
    IrqRequest wire = wire(request, flags, List.of());
    // A line that is unmasked twice costs a spurious interrupt at most; one that stays masked is
    // dead.
    return call(CallType.SET_IRQS, wire.toBody(), request.action() == IrqSet.Action.UNMASK)
        .map(Bodies::number)
        .doOnNext(result -> {
          if (wire.disables() && result == 0) {
            forget(vector -> vector.index == wire.index());
          }
        });
  }

  private static IrqRequest wire(IrqSet request, List<Integer> values, List<Integer> streams) {
    return new IrqRequest(
        request.index(),
        request.action(),
        request.data(),
        request.start(),
        request.count(),
        values,
        streams);
  }

  private void forget(java.util.function.Predicate<RemoteVector> which) {
    List<RemoteVector> gone;
    synchronized (this) {
      gone = streams.values().stream().filter(which).toList();
      for (RemoteVector vector : gone) {
        streams.remove(vector.stream);
        vectors.remove(key(vector.index, vector.vector), vector);
      }
    }
    gone.forEach(RemoteVector::close);
  }

  /** A request to arm vectors, with what we keep for each. */
  private record Assignment(IrqRequest request, List<RemoteVector> created) {}

  private Assignment assignment(IrqSet request) {
    List<Integer> values = new ArrayList<>();
    List<Integer> numbersOfStreams = new ArrayList<>();
    List<RemoteVector> created = new ArrayList<>();
    for (int i = 0; i < request.count(); i++) {
      int fd = request.eventfd(i);
      int stream = 0;
      int value = fd;
      if (fd >= 0) {
        try {
          EventFd own = EventFd.duplicate(fd);
          stream = nextNumber();
          created.add(new RemoteVector(stream, request.index(), request.start() + i, own));
          value = IrqRequest.STREAM;
        } catch (LinuxException e) {
          value = e.errno() == Errno.EBADF ? IrqRequest.NO_DESCRIPTOR : IrqRequest.NO_EVENTFD;
        }
      }
      values.add(value);
      numbersOfStreams.add(stream);
    }
    return new Assignment(wire(request, values, numbersOfStreams), created);
  }

  private synchronized int nextNumber() {
    numbers = numbers + 1 & Integer.MAX_VALUE;
    return numbers;
  }

  private Mono<Integer> assign(Assignment assignment) {
    IrqRequest request = assignment.request();
    synchronized (this) {
      assignment.created().forEach(vector -> streams.put(vector.stream, vector));
    }
    return call(CallType.SET_IRQS, request.toBody())
        .map(Bodies::number)
        .doOnNext(result -> {
          if (result == 0) {
            armed(request, assignment.created());
          } else {
            forget(assignment.created()::contains);
          }
        })
        .doOnError(e -> forget(assignment.created()::contains));
  }

  private void armed(IrqRequest request, List<RemoteVector> created) {
    forget(vector -> vector.index == request.index()
        && vector.vector >= request.start()
        && vector.vector < request.start() + request.count()
        && !created.contains(vector));
    synchronized (this) {
      for (RemoteVector vector : created) {
        if (streams.containsKey(vector.stream)) {
          vectors.put(key(vector.index, vector.vector), vector);
          ask(vector);
        }
      }
    }
  }

  // ---- the end

  @Override
  public Mono<Void> close() {
    return Mono.defer(() -> {
      List<PendingCall> failed;
      Outbox present;
      synchronized (this) {
        if (closed) {
          return Mono.empty();
        }
        closed = true;
        failed = new ArrayList<>(calls.values());
        calls.clear();
        release();
        present = outbox;
      }
      for (PendingCall call : failed) {
        call.sink.error(new DeviceClosedException(
            call.call.type().title(), exportName, 0, "the device was closed", "open it again"));
      }
      if (present == null) {
        connection.dispose();
        return Mono.empty();
      }
      present.send(new Frame.Goodbye());
      return disconnected
          .asMono()
          .timeout(remote.timeout())
          .onErrorComplete()
          .doFinally(end -> connection.dispose());
    });
  }

  @Override
  public String toString() {
    return exportName + " at " + remote;
  }
}
