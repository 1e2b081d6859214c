package org.reactorvfio.vendor.mlx5;

import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import org.reactorvfio.VfioException;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.dma.DmaSpace;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** The memory that a PF's firmware has been given for its own use and for that of its VFs, in pages of 4,096 bytes. */
final class Pages {
  private static final int PAGE = 4096;

  /** How many pages one command gives or takes: as many as fit into the mailboxes of an entry. */
  static final int BATCH = 1024;

  /** {@code MANAGE_PAGES}: there are none to be given. */
  static final int CANNOT_GIVE = 0;

  /** {@code MANAGE_PAGES}: here they are. */
  static final int GIVE = 1;

  /** {@code MANAGE_PAGES}: they are wanted back. */
  static final int TAKE = 2;

  /** {@code QUERY_PAGES}: how many are needed to talk at all. */
  static final int BOOT = 1;

  /** {@code QUERY_PAGES}: how many are needed to initialize the adapter. */
  static final int INIT = 2;

  private final DmaSpace dma;
  private final CommandQueue commands;

  // Guarded by this object's monitor.
  private final Map<Long, Chunk> given = new HashMap<>();

  Pages(DmaSpace dma, CommandQueue commands) {
    this.dma = dma;
    this.commands = commands;
  }

  /** Pages that were allocated together, and are freed when the last of them is back. */
  private static final class Chunk {
    private final DmaBuffer memory;
    private final int function;
    private int out;

    Chunk(DmaBuffer memory, int function, int out) {
      this.memory = memory;
      this.function = function;
      this.out = out;
    }
  }

  /** Gives the firmware what it needs for a step of its start. */
  Mono<Void> startUp(int kind) {
    return commands
        .execute(new Command(Opcode.QUERY_PAGES).with(Layout.OP_MOD, kind))
        .flatMap(answer ->
            give((int) Layout.FUNCTION_ID.get(answer), (int) Layout.PAGE_COUNT.get(answer)));
  }

  /** Gives a function pages; if that fails, the firmware is told that there are none. */
  Mono<Void> give(int function, int count) {
    return batches(count)
        .concatMap(batch -> giveBatch(function, batch))
        .then()
        .onErrorResume(failure -> commands
            .execute(manage(CANNOT_GIVE, function, 0, Layout.HEADER, Layout.HEADER))
            .onErrorComplete()
            .then(Mono.error(failure)));
  }

  private static Flux<Integer> batches(int count) {
    // The count is the firmware's: any.
    return Flux.range(0, (int) ((Math.max(count, 0L) + BATCH - 1) / BATCH))
        .map(i -> Math.min(BATCH, count - i * BATCH));
  }

  private Mono<Void> giveBatch(int function, int count) {
    return dma.allocate((long) count * PAGE).flatMap(memory -> {
      Command command = manage(GIVE, function, count, Layout.HEADER + 8 * count, Layout.HEADER);
      Chunk chunk = new Chunk(memory, function, count);
      synchronized (this) {
        for (int i = 0; i < count; i++) {
          long page = memory.iova() + (long) i * PAGE;
          command.with(page(i), page);
          given.put(page, chunk);
        }
      }
      return commands.execute(command).then().onErrorResume(Mlx5CommandException.class, e -> {
        boolean untouched = e.reason() == Mlx5CommandException.Reason.REFUSED
            || e.reason() == Mlx5CommandException.Reason.NOT_DELIVERED;
        // The firmware may have pages that it was late to take.
        return (untouched ? forget(chunk) : Mono.<Void>empty()).then(Mono.error(e));
      });
    });
  }

  private Mono<Void> forget(Chunk chunk) {
    synchronized (this) {
      given.values().removeIf(chunk::equals);
    }
    return chunk.memory.free();
  }

  private static Field page(int index) {
    return new Field(Layout.PAGES + 64 * index, 64);
  }

  private static Command manage(int what, int function, int count, int length, int answerLength) {
    return new Command(Opcode.MANAGE_PAGES, length, answerLength)
        .with(Layout.OP_MOD, what)
        .with(Layout.FUNCTION_ID, function)
        .with(Layout.PAGE_COUNT, count);
  }

  /** Takes pages back. The value is how many came. */
  Mono<Integer> take(int function, int count) {
    return batches(count).concatMap(batch -> takeBatch(function, batch)).reduce(0, Integer::sum);
  }

  private Mono<Integer> takeBatch(int function, int count) {
    return commands
        .execute(manage(TAKE, function, count, Layout.HEADER, Layout.HEADER + 8 * count))
        .flatMap(answer -> {
          long taken = Layout.PAGES_TAKEN.get(answer);
          if (taken > count) {
            return Mono.error(malformed(taken + " pages come back, " + count + " were asked for"));
          }
          return Flux.range(0, (int) taken)
              .concatMap(i -> returned(page(i).get(answer)))
              .then(Mono.just((int) taken));
        });
  }

  private Mono<Void> returned(long page) {
    Chunk chunk;
    synchronized (this) {
      chunk = given.remove(page);
      if (chunk != null && --chunk.out > 0) {
        return Mono.empty();
      }
    }
    return chunk == null
        ? Mono.error(malformed(String.format("page 0x%x comes back, which it does not have", page)))
        : chunk.memory.free();
  }

  private VfioException malformed(String problem) {
    return Mlx5CommandException.malformed(
        Opcode.MANAGE_PAGES.toString(), commands.device(), problem);
  }

  /** Takes a function's pages back, all that the firmware gives. */
  Mono<Void> takeAll(int function) {
    return Mono.defer(() -> {
      int out = count(function);
      return out == 0
          ? Mono.<Void>empty()
          : take(function, Math.min(out, BATCH))
              .flatMap(taken -> taken == 0 ? Mono.<Void>empty() : takeAll(function));
    });
  }

  /** How many pages a function has. */
  synchronized int count(int function) {
    int count = 0;
    for (Chunk chunk : given.values()) {
      count += chunk.function == function ? 1 : 0;
    }
    return count;
  }

  /** Frees all pages: the adapter was reset, or does nothing any more. */
  Mono<Void> free() {
    return Mono.defer(() -> {
      Set<DmaBuffer> all = new HashSet<>();
      synchronized (this) {
        given.values().forEach(chunk -> all.add(chunk.memory));
        given.clear();
      }
      return Memory.free(all);
    });
  }
}
